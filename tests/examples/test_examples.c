/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every program in examples/, run as a user runs it, on a terminal: what it
 * shows is compared with NAME.expected or NAME-ARGUMENT.expected, see expect.h.
 * Where a listing works by sleeping, the programs sleep a tenth of that.
 */
#include "expect.h"
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* ThreadSanitizer has a thread in each program, which counts as a process. */
#ifdef HARNESS_TSAN
# define EXAMPLES_LIMITED(X)
#else
# define EXAMPLES_LIMITED(X)                                \
  X(philosophers_none_can_start, "philosophers", "1", 1, 1) \
  X(philosophers_two_can_start, "philosophers", "3", 1, 3)
#endif

/* Name of the test, program, its argument, its exit status, and for those that
 * show the limit of processes how many the user may have. */
#define EXAMPLES(X)                                   \
 X(basic_usage, "basic_usage", NULL, 0, 0)            \
 X(counters, "counters", NULL, 0, 0)                  \
 X(daemon_left, "daemon", NULL, 0, 0)                 \
 X(daemon_waited_for, "daemon", "join", 0, 0)         \
 X(daemon_joined, "daemon_joined", NULL, 0, 0)        \
 X(event, "event", NULL, 0, 0)                        \
 X(exit_codes, "exit_codes", NULL, 0, 0)              \
 X(five_workers, "five_workers", NULL, 0, 0)          \
 X(join_timeout, "join_timeout", NULL, 0, 0)          \
 X(log_levels, "log_levels", NULL, 0, 0)              \
 X(log_levels_info, "log_levels", "INFO", 0, 0)       \
 X(log_levels_warning, "log_levels", "WARNING", 0, 0) \
 X(philosophers, "philosophers", NULL, 0, 0)          \
 EXAMPLES_LIMITED(X)                                  \
 X(ping_pong, "ping_pong", NULL, 0, 0)                \
 X(process_object, "process_object", NULL, 0, 0)      \
 X(queue_message, "queue_message", NULL, 0, 0)        \
 X(queue_number, "queue_number", NULL, 0, 0)          \
 X(terminate, "terminate", NULL, 0, 0)                \
 X(worker_object, "worker_object", NULL, 0, 0)

/* Tests of their own elsewhere. */
static const char *const tested_elsewhere[] = {"wordcount"};

struct example {
    const char *program;
    const char *argument;
    int status;
    int limit;
};

static const struct example examples[] = {
#define X(name, ...) {__VA_ARGS__},
    EXAMPLES(X)
#undef X
};

/* The whole of a file, to be freed. */
static char *
read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;

    if (file == NULL) {
        FAIL("cannot open %s: %s", path, strerror(errno));
    }
    CHECK(getdelim(&text, &room, '\0', file) >= 0);
    (void)fclose(file);
    return text;
}

/* What is written to a terminal until the last process that has it open ends,
 * to be freed. */
static char *
read_terminal(int fd)
{
    char *text = NULL;
    size_t length = 0;

    for (;;) {
        ssize_t got;

        text = realloc(text, length + 4096);
        CHECK(text != NULL);
        got = read(fd, text + length, 4095);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    text[length] = '\0';
    return text;
}

/*
 * Root is above RLIMIT_NPROC, and what counts is the processes of the user:
 * this makes the process that of a user who has no other. The number need not
 * be known to anybody, and differs from that of tests run at the same time.
 */
static void
become_ordinary_user(void)
{
    uid_t user = 20000 + (uid_t)getpid() % 40000;

    if (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0) {
        FAIL("cannot become user %u: %s", user, strerror(errno));
    }
}

/* Runs the program with the terminal as its stdin, stdout and stderr. */
static __attribute__((noreturn)) void
become(const struct example *example, int program, int terminal)
{
    char *arguments[] = {strdup(example->program), NULL, NULL};

    if (example->argument != NULL) {
        arguments[1] = strdup(example->argument);
    }
    if (dup2(terminal, STDIN_FILENO) < 0 || dup2(terminal, STDOUT_FILENO) < 0 ||
        dup2(terminal, STDERR_FILENO) < 0) {
        _exit(126);
    }
    (void)setenv("EXAMPLE_SCALE", "0.1", 1);
    if (example->limit > 0) {
        if (geteuid() == 0) {
            become_ordinary_user();
        }
        /* looking for leaks takes one process more */
        (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    }
    (void)fexecve(program, arguments, environ);
    _exit(127);
}

/* What the program shows, to be freed. */
static char *
run_example(const struct example *example)
{
    struct termios raw;
    char path[4096];
    char *output;
    int program;
    int terminal;
    int other_end;
    int status;
    pid_t pid;

    (void)snprintf(path, sizeof(path), "%s/%s", EXAMPLES_BUILT,
                   example->program);
    program = open(path, O_RDONLY | O_CLOEXEC);
    if (program < 0) {
        FAIL("cannot open %s: %s", path, strerror(errno));
    }
    memset(&raw, 0, sizeof(raw));
    cfmakeraw(&raw);
    CHECK_EQ(openpty(&other_end, &terminal, NULL, &raw, NULL), 0);
    CHECK_EQ(fcntl(other_end, F_SETFD, FD_CLOEXEC), 0);
    CHECK_EQ(fcntl(terminal, F_SETFD, FD_CLOEXEC), 0);

    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        become(example, program, terminal);
    }
    CHECK_EQ(close(program), 0);
    CHECK_EQ(close(terminal), 0);
    output = read_terminal(other_end);
    CHECK_EQ(close(other_end), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != example->status) {
        FAIL("%s ended with wait status %#x, it printed:\n%s", example->program,
             (unsigned)status, output);
    }
    return output;
}

static void
check_example(const struct example *example)
{
    char path[4096];
    char *expected;
    char *output;
    char *difference;

    if (example->limit > 1 && geteuid() != 0) {
        SKIP("only root can become a user who has no other process");
    }
    (void)snprintf(path, sizeof(path), "%s/%s%s%s.expected", EXAMPLES_EXPECTED,
                   example->program, example->argument != NULL ? "-" : "",
                   example->argument != NULL ? example->argument : "");
    expected = read_file(path);
    output = run_example(example);
    difference = expect_difference(expected, output);
    if (difference != NULL) {
        printf("%s", output);
        FAIL("%s, %s", path, difference);
    }
    free(expected);
    free(output);
}

#define X(name, ...)                                   \
 TEST(name)                                            \
 {                                                     \
  static const struct example example = {__VA_ARGS__}; \
  check_example(&example);                             \
 }
EXAMPLES(X)
#undef X

static bool
is_tested(const char *program, size_t length)
{
    size_t count = sizeof(examples) / sizeof(examples[0]);

    for (size_t i = 0; i < count; i++) {
        if (strlen(examples[i].program) == length &&
            memcmp(examples[i].program, program, length) == 0) {
            return true;
        }
    }
    count = sizeof(tested_elsewhere) / sizeof(tested_elsewhere[0]);
    for (size_t i = 0; i < count; i++) {
        if (strlen(tested_elsewhere[i]) == length &&
            memcmp(tested_elsewhere[i], program, length) == 0) {
            return true;
        }
    }
    return false;
}

TEST(every_example_is_tested_and_in_the_readme)
{
    char *readme = read_file(EXAMPLES_SOURCE "/README.md");
    DIR *directory = opendir(EXAMPLES_SOURCE);
    const struct dirent *entry;
    int count = 0;

    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        const char *end = strrchr(entry->d_name, '.');

        if (end == NULL || strcmp(end, ".c") != 0) {
            continue;
        }
        count++;
        if (!is_tested(entry->d_name, (size_t)(end - entry->d_name))) {
            FAIL("examples/%s has no test", entry->d_name);
        }
        if (strstr(readme, entry->d_name) == NULL) {
            FAIL("examples/README.md does not name %s", entry->d_name);
        }
    }
    (void)closedir(directory);
    free(readme);
    CHECK_GT(count, 0);
}
