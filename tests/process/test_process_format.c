/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The printed form, compared with what CPython prints.
 */
#include "helper.h"

#include <stdarg.h>

static void
check_format(troupe_process *p, const char *expected)
{
    char text[256];
    char small[10];
    size_t length = troupe_process_format(p, text, sizeof(text));

    CHECK_STR(text, expected);
    CHECK_EQ(length, strlen(expected));
    /* As snprintf. */
    CHECK_EQ(troupe_process_format(p, NULL, 0), length);
    memset(small, 'x', sizeof(small));
    CHECK_EQ(troupe_process_format(p, small, sizeof(small)), length);
    CHECK_EQ(small[sizeof(small) - 1], '\0');
    CHECK_MEM(small, expected, sizeof(small) - 1);
}

static const char *text_of(const char *format, ...) TROUPE_PRINTF(1, 2);

static const char *
text_of(const char *format, ...)
{
    static char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return text;
}

static troupe_process *
named(const char *name, int (*target)(void *), void *arg, bool daemon)
{
    troupe_process *p;

    CHECK_RC(
        troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .name = name, .target = target,
                                              .arg = arg, .daemon = daemon)),
        0);
    return p;
}

TEST(format_of_each_state)
{
    troupe_process *p = named("fail_job", child_returns, NUMBER(1), false);
    int pid;

    check_format(p, text_of("<Process name='fail_job' parent=%d initial>",
                            (int)getpid()));
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    pid = (int)troupe_process_pid(p);
    check_format(p, text_of("<Process name='fail_job' pid=%d parent=%d stopped "
                            "exitcode=1>",
                            pid, (int)getpid()));
    CHECK_RC(troupe_process_close(p), 0);
    check_format(p, text_of("<Process name='fail_job' parent=%d closed>",
                            (int)getpid()));
    troupe_process_free(p);
    p = named("d", child_sleeps, NULL, true);
    check_format(p, text_of("<Process name='d' parent=%d initial daemon>",
                            (int)getpid()));
    CHECK_RC(troupe_process_start(p), 0);
    pid = (int)troupe_process_pid(p);
    check_format(p, text_of("<Process name='d' pid=%d parent=%d started "
                            "daemon>",
                            pid, (int)getpid()));
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    check_format(p, text_of("<Process name='d' pid=%d parent=%d stopped "
                            "exitcode=-SIGTERM daemon>",
                            pid, (int)getpid()));
    troupe_process_free(p);
    check_format(NULL, "<Process NULL>");
    check_format(troupe_process_current(),
                 "<_MainProcess name='MainProcess' parent=None started>");
}

static int
child_prints_itself(void *unused)
{
    (void)unused;
    check_format(troupe_process_current(),
                 text_of("<Process name='Process-1' parent=%d started>",
                         (int)getppid()));
    check_format(troupe_process_parent(),
                 "<_ParentProcess name='MainProcess' parent=None unknown>");
    return 0;
}

TEST(format_in_the_child)
{
    CHECK_EQ(process_finish(process_start(child_prints_itself, NULL)), 0);
}

static int
child_forks_by_itself(void *unused)
{
    static const char expected[] =
        "<_ParentProcess name='MainProcess' parent=None unknown>";
    troupe_process *parent = troupe_process_parent();
    pid_t pid;
    int fd;

    (void)unused;
    CHECK_RC(troupe_process_sentinel(parent, &fd), 0);
    pid = fork_raw();
    if (pid == 0) {
        check_format(parent, expected);
        CHECK_RC(troupe_process_join(parent, TROUPE_FOREVER), -ECHILD);
        CHECK_RC(troupe_process_sentinel(parent, &fd), -ECHILD);
        CHECK(!troupe_process_is_alive(parent));
        troupe_process_free(parent);
        CHECK_RC(troupe_process_close(parent), -ECHILD);
        CHECK(!is_readable(fd));
        check_format(parent, expected);
        CHECK_EQ(process_finish(process_start(child_prints_itself, NULL)), 0);
        _exit(0);
    }
    return wait_raw(pid);
}

TEST(format_of_the_parent_of_ones_parent)
{
    CHECK_EQ(process_finish(process_start(child_forks_by_itself, NULL)), 0);
}

/* Reads all that a command prints. */
static void
run(const char *command, char *text, size_t size)
{
    FILE *pipe = popen(command, "re");
    size_t got;

    CHECK(pipe != NULL);
    got = fread(text, 1, size - 1, pipe);
    text[got] = '\0';
    CHECK_EQ(pclose(pipe), 0);
}

static int
child_dies(void *signo)
{
    (void)signal(OF(signo), SIG_DFL);
    (void)raise(OF(signo));
    return 0;
}

TEST(format_names_signals_as_python)
{
    static char python[4096];
    char *at = python;
    int signo;

    run("/usr/bin/python3 -c '\n"
        "from multiprocessing import process\n"
        "for s in range(1, 65):\n"
        "    print(process._exitcode_to_name.get(-s, -s))'",
        python, sizeof(python));
    for (signo = 1; signo <= 64; signo++) {
        char text[256];
        char expected[64];
        char *line = strsep(&at, "\n");
        troupe_process *p;

        CHECK(line != NULL && *line != '\0');
        /* Those that do not end a process, and those the libc keeps. */
        if (signo == SIGCHLD || signo == SIGCONT || signo == SIGSTOP ||
            signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU ||
            signo == SIGURG || signo == SIGWINCH ||
            (signo > SIGSYS && signo < SIGRTMIN))
            continue;
        p = process_start(child_dies, NUMBER(signo));
        CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
        (void)troupe_process_format(p, text, sizeof(text));
        (void)snprintf(expected, sizeof(expected), " stopped exitcode=%s>",
                       line);
        CHECK_STR(strstr(text, " stopped"), expected);
        troupe_process_free(p);
    }
}

TEST(format_quotes_names_as_python)
{
    static const char *const names[] = {
        "",
        "plain",
        "it's",
        "say \"hi\"",
        "both ' and \"",
        "a\\b",
        "tab\t",
        "line\n\r",
        "\x01\x1f\x7f",
        "\xc3\xa9t\xc3\xa9",
        "\xc2\x85",
        "\xc2\xad",
        "\xff\xfe",
        "\xe2\x82\xac",
        "\xf0\x9f\x98\x80",
        "\xe2\x80\xa8",
        "\xed\xa0\x80",
        "\xc0\x80",
        "\xe2\x82",
        "\xf4\x90\x80\x80",
    };
    static char python[8192];
    char command[4096] = "PYTHONIOENCODING=utf-8 /usr/bin/python3 -c '\n"
                         "import sys\n"
                         "for n in sys.argv[1:]:\n"
                         "    print(repr(bytes.fromhex(n).decode(\"utf-8\", "
                         "\"surrogateescape\")))' ";
    char *at = python;
    unsigned i;
    const char *c;

    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t end = strlen(command);

        end += (size_t)snprintf(command + end, sizeof(command) - end, " \"");
        for (c = names[i]; *c != '\0'; c++)
            end += (size_t)snprintf(command + end, sizeof(command) - end,
                                    "%02x", (unsigned char)*c);
        (void)snprintf(command + end, sizeof(command) - end, "\"");
    }
    run(command, python, sizeof(python));
    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        troupe_process *p = named(names[i], NULL, NULL, false);
        char *line = strsep(&at, "\n");

        CHECK(line != NULL);
        check_format(p, text_of("<Process name=%s parent=%d initial>", line,
                                (int)getpid()));
        troupe_process_free(p);
    }
}
