/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines, compared with those of CPython.
 */
#include "helper.h"

#include <troupe/log.h>

#include <pthread.h>

/* Runs a function in a process of its own, which then exits as a root; returns
 * what it wrote to stderr. */
static const char *
stderr_of(void (*function)(void))
{
    static char text[65536];
    size_t length = 0;
    ssize_t got;
    int ends[2];
    pid_t pid;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork_raw();
    if (pid == 0) {
        CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        function();
        exit(0);
    }
    CHECK_EQ(close(ends[1]), 0);
    while ((got = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(wait_raw(pid), 0);
    return text;
}

static void
run_python(const char *script, char *text, size_t size)
{
    char path[256];
    char command[600];
    FILE *file;
    size_t got;

    (void)snprintf(path, sizeof(path), "%s/script.py", harness_tmpdir());
    file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK_GE(fputs(script, file), 0);
    CHECK_EQ(fclose(file), 0);
    (void)snprintf(command, sizeof(command), "/usr/bin/python3 %s 2>&1 >&-",
                   path);
    file = popen(command, "re");
    CHECK(file != NULL);
    got = fread(text, 1, size - 1, file);
    text[got] = '\0';
    CHECK_EQ(pclose(file), 0);
    CHECK_EQ(unlink(path), 0);
}

static int
child_of_the_child(void *unused)
{
    (void)unused;
    troupe_log(TROUPE_LOG_ERROR, "in the grandchild");
    return 3;
}

static int
child_with_a_child(void *unused)
{
    (void)unused;
    troupe_log(TROUPE_LOG_WARNING, "about to start");
    CHECK_EQ(process_finish(process_start(child_of_the_child, NULL)), 3);
    return 0;
}

static int
child_exits_259(void *unused)
{
    (void)unused;
    exit(259);
}

/* Tells that it has begun, so that its first line is before those of the
 * exit. */
static int
daemon_pauses(void *fd)
{
    CHECK_EQ(write(OF(fd), "x", 1), 1);
    return child_sleeps(NULL);
}

/* One after the other, so that the lines have one order. */
static void
scene(void)
{
    troupe_process *p;
    char byte;
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    troupe_log_to_stderr(TROUPE_LOG_DEBUG);
    CHECK_EQ(process_finish(process_start(child_with_a_child, NULL)), 0);
    CHECK_EQ(process_finish(process_start(child_exits_259, NULL)), 3);
    p = process_new(daemon_pauses, NUMBER(ends[1]), true);
    CHECK_RC(troupe_process_set_name(p, "a daemon"), 0);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    troupe_process_free(p);
}

static const char scene_in_python[] =
    "import multiprocessing as mp, logging, os, sys, signal\n"
    "r, w = os.pipe()\n"
    "log = mp.log_to_stderr(logging.DEBUG)\n"
    "def inner():\n"
    "    log.error('in the grandchild')\n"
    "    sys.exit(3)\n"
    "def outer():\n"
    "    log.warning('about to start')\n"
    "    p = mp.Process(target=inner); p.start(); p.join()\n"
    "def leave():\n"
    "    sys.exit(259)\n"
    "def pause():\n"
    "    os.write(w, b'x')\n"
    "    signal.pause()\n"
    "p = mp.Process(target=outer); p.start(); p.join()\n"
    "p = mp.Process(target=leave); p.start(); p.join()\n"
    "p = mp.Process(target=pause, name='a daemon', daemon=True); p.start()\n"
    "os.read(r, 1)\n";

/* Whether the daemon still lives when its join would be logged is a matter of
 * chance, in both: that line is taken out. */
static void
drop_line(char *text, const char *line)
{
    char *at = strstr(text, line);

    if (at != NULL)
        memmove(at, at + strlen(line), strlen(at + strlen(line)) + 1);
}

TEST(log_lines_are_those_of_python)
{
    static const char join[] =
        "[INFO/MainProcess] calling join() for process a daemon\n";
    static char python[65536];
    static char ours[65536];

    run_python(scene_in_python, python, sizeof(python));
    (void)snprintf(ours, sizeof(ours), "%s", stderr_of(scene));
    drop_line(python, join);
    drop_line(ours, join);
    CHECK(strstr(python, "calling terminate() for daemon a daemon") != NULL);
    CHECK(strstr(python, "process exiting with exitcode 259") != NULL);
    CHECK_STR(ours, python);
}

static void
levels(void)
{
    troupe_log(TROUPE_LOG_CRITICAL, "logging is off");
    troupe_log_set_level(TROUPE_LOG_SUBDEBUG);
    troupe_log(TROUPE_LOG_CRITICAL, "still off");
    CHECK(!troupe_log_enabled(TROUPE_LOG_CRITICAL));
    troupe_log_set_level(0);
    CHECK_EQ(troupe_log_get_level(), (int)TROUPE_LOG_WARNING);
    troupe_log_to_stderr(0);
    CHECK(troupe_log_enabled(TROUPE_LOG_WARNING));
    CHECK(!troupe_log_enabled(TROUPE_LOG_SUBWARNING));
    troupe_log(TROUPE_LOG_INFO, "too low");
    troupe_log(TROUPE_LOG_WARNING, "w %d", 1);
    troupe_log_to_stderr(1);
    troupe_log_to_stderr(1); /* no second line for each */
    troupe_log(TROUPE_LOG_SUBDEBUG, "s");
    troupe_log(TROUPE_LOG_DEBUG, "d");
    troupe_log(TROUPE_LOG_INFO, "i");
    troupe_log(TROUPE_LOG_SUBWARNING, "s");
    troupe_log(TROUPE_LOG_ERROR, "e");
    troupe_log(TROUPE_LOG_CRITICAL, "c");
    troupe_log(37, "x");
    troupe_log_set_handler(NULL, NULL);
    troupe_log(TROUPE_LOG_CRITICAL, "off again");
}

static const char levels_in_python[] =
    "import multiprocessing as mp, logging, os\n"
    "log = mp.log_to_stderr()\n"
    "log.info('too low')\n"
    "log.warning('w %d', 1)\n"
    "log.setLevel(1)\n"
    "log.log(5, 's')\n"
    "log.debug('d')\n"
    "log.info('i')\n"
    "log.log(25, 's')\n"
    "log.error('e')\n"
    "log.critical('c')\n"
    "log.log(37, 'x')\n"
    "os._exit(0)\n";

TEST(log_levels_are_those_of_python)
{
    static char python[4096];

    run_python(levels_in_python, python, sizeof(python));
    CHECK_STR(stderr_of(levels), python);
}

static int
child_tells_its_level(void *unused)
{
    (void)unused;
    return troupe_log_get_level();
}

static void
inherit(void)
{
    troupe_log_set_level(32);
    CHECK_EQ(process_finish(process_start(child_tells_its_level, NULL)), 32);
    troupe_log_set_level(37);
    CHECK_EQ(process_finish(process_start(child_tells_its_level, NULL)), 37);
}

TEST(log_level_is_inherited)
{
    CHECK_STR(stderr_of(inherit), "");
}

struct heard {
    int level;
    char process[64];
    char message[6000];
};

static void
hear(int level, const char *process, const char *message, void *context)
{
    struct heard *heard = context;

    heard->level = level;
    (void)snprintf(heard->process, sizeof(heard->process), "%s", process);
    (void)snprintf(heard->message, sizeof(heard->message), "%s", message);
}

static int
child_logs(void *unused)
{
    (void)unused;
    troupe_log(44, "from %s", "below");
    _exit(0);
}

TEST(log_handler_can_be_replaced)
{
    struct heard *heard = SHARED(struct heard);

    troupe_log_set_handler(hear, heard);
    errno = 77;
    troupe_log(55, "number %d", 5);
    CHECK_EQ(errno, 77);
    CHECK_EQ(heard->level, 55);
    CHECK_STR(heard->process, "MainProcess");
    CHECK_STR(heard->message, "number 5");
    /* A child has it too. */
    CHECK_EQ(process_finish(process_start(child_logs, NULL)), 0);
    CHECK_EQ(heard->level, 44);
    CHECK_STR(heard->process, "Process-1");
    CHECK_STR(heard->message, "from below");
    troupe_log_set_handler(NULL, NULL);
    troupe_log(55, "nobody hears");
    CHECK_STR(heard->message, "from below");
    CHECK_RC(troupe_free(heard), 0);
}

static void
long_line(void)
{
    static char text[6000];

    memset(text, 'y', sizeof(text) - 1);
    troupe_log_to_stderr(TROUPE_LOG_WARNING);
    troupe_log(TROUPE_LOG_WARNING, "%s", text);
}

TEST(log_line_is_cut_and_still_a_line)
{
    const char *text = stderr_of(long_line);
    size_t length = strlen(text);

    CHECK_LE(length, 4096u);
    CHECK_GT(length, 4000u);
    CHECK_EQ(text[length - 1], '\n');
    CHECK_EQ(text[length - 2], 'y');
}

static int
child_has_no_reader(void *unused)
{
    int ends[2];

    (void)unused;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    CHECK_EQ(close(ends[0]), 0);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    errno = 5;
    troupe_log_to_stderr(TROUPE_LOG_WARNING);
    troupe_log(TROUPE_LOG_ERROR, "nobody reads this");
    CHECK_EQ(errno, 5);
    return 2;
}

TEST(log_raises_no_sigpipe)
{
    CHECK_EQ(process_finish(process_start(child_has_no_reader, NULL)), 2);
}

static void *
wait_for_end(void *event)
{
    CHECK_RC(troupe_event_wait(event, TROUPE_FOREVER), 0);
    return NULL;
}

static void
start_with_threads(void)
{
    troupe_event *go = SHARED(troupe_event);
    pthread_t thread;

    troupe_log_to_stderr(TROUPE_LOG_WARNING);
    CHECK_EQ(process_finish(process_start(child_returns, NULL)), 0);
    CHECK_EQ(pthread_create(&thread, NULL, wait_for_end, go), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NULL)), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NULL)), 0);
    CHECK_RC(troupe_event_set(go), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(log_warns_once_of_a_start_with_threads)
{
    const char *text = stderr_of(start_with_threads);
    const char *end = strchr(text, '\n');

    CHECK(strncmp(text, "[WARNING/MainProcess] this process (pid=", 40) == 0);
    CHECK(strstr(text, "is multi-threaded") != NULL);
    CHECK(end != NULL && end[1] == '\0');
}

static int
number_is_fine(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    return 0;
}

/* One worker at a time, so that the lines have one order. */
static void
pool_scene(void)
{
    troupe_pool_options one = {.size = sizeof(one), .processes = 1};
    troupe_pool *pool;

    troupe_log_to_stderr(TROUPE_LOG_DEBUG);
    CHECK_RC(troupe_pool_new(&pool, &one), 0);
    CHECK_RC(troupe_pool_map(pool, number_is_fine, NULL, 3, 0, NULL, 0, NULL,
                             TROUPE_FOREVER),
             0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_pool_new(&pool, &one), 0);
    CHECK_RC(troupe_pool_terminate(pool), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
}

TEST(log_tells_of_pools_as_python)
{
    static const char *const lines[] = {
        "[DEBUG/MainProcess] added worker\n",
        "[DEBUG/MainProcess] closing pool\n",
        "[DEBUG/MainProcess] joining pool\n",
        "[DEBUG/PoolWorker-1] worker exiting after 3 tasks\n",
        "[DEBUG/MainProcess] cleaning up worker 0\n",
        "[DEBUG/MainProcess] terminating pool\n",
    };
    const char *text = stderr_of(pool_scene);
    unsigned i;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(text, lines[i]) == NULL)
            FAIL("no '%s' in '%s'", lines[i], text);
    CHECK(strstr(text, "was lost") == NULL);
}
