/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs each test of selftest/ in a runner of its own, and looks at what that
 * runner says and how it ends. What that runner does not clear away, this one
 * finds.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct expectation {
    const char *name;
    const char *first; /* how its line starts */
    const char *says;  /* what stands in the line */
    const char *last;  /* the last line */
    int status;
};

#define PASSES(name)                      \
 {                                        \
  name, "ok   " name " ", "ms", PASSED, 0 \
 }
#define FAILS(name, why)                 \
 {                                       \
  name, "FAIL " name " ", why, FAILED, 1 \
 }
#define PASSED  "1 passed, 0 failed, 0 skipped\n"
#define FAILED  "0 passed, 1 failed, 0 skipped\n"
#define SKIPPED "0 passed, 0 failed, 1 skipped\n"

static const struct expectation expectations[] = {
    PASSES("passes"),
    PASSES("passing_with_joined_child_and_thread"),
    PASSES("passing_with_orphan_that_ended"),
    PASSES("passing_by_signal"),
    PASSES("kept_fd"),
    PASSES("aborting_child_is_not_seen"),
    {"skipping", "skip skipping: ", "no unicorn here", SKIPPED, 0},
    FAILS("signal_that_does_not_come", "exited with status 0, expected signal"),
    FAILS("compare_in_parent", "1 + 1 == 3U: 2 and 3"),
    FAILS("sign_is_no_accident", "-1 and 4294967295"),
    FAILS("strings_differ", "\"left\" and NULL"),
    FAILS("memory_differs", "at 2 stand 0x63 and 0x64"),
    FAILS("status_differs", "-11 (Resource temporarily unavailable), expec"),
    FAILS("fail_with_words", "2 words\n---- output\nsaid before the failure\n"),
    FAILS("check_in_child", "CHECK(errno == -1) [in descendant process "),
    FAILS("check_in_grandchild", "CHECK(errno == -2) [in desc"),
    FAILS("check_in_thread", "CHECK(argument != NULL) [in thread "),
    FAILS("hang", "deadline of 1 s passed; alive: "),
    FAILS("stubborn_tree", "deadline of 1 s passed; alive: "),
    FAILS("hopping_process", "deadline of 1 s passed"),
    FAILS("leaked_fd_alone", "left open (/dev/zero)"),
    FAILS("leaked_fd_after_low_limit", "left open (/dev/zero)"),
    FAILS("leaked_socket_name", "a unix socket bound to @troupe-selftest-"),
    FAILS("leaked_socket_file", "residue: file socket left in TMPDIR"),
    FAILS("leaked_child", "residue: a child process left running"),
    FAILS("leaked_session", "residue: process "),
    FAILS("left_zombie", "residue: zombie "),
    FAILS("leaked_thread", "residue: 1 thread(s) left running"),
    FAILS("leaked_shm_name", "residue: /dev/shm/troupe-selftest-"),
    FAILS("leaked_file", "residue: file deep left in TMPDIR"),
    FAILS("crashing", "killed by signal 11 (Segmentation fault)"),
#ifdef HARNESS_ASAN
    FAILS("sanitizer_report_in_child", "a sanitizer reported in descendant"),
#endif
    FAILS("status_three", "exited with status 3"),
    FAILS("early_exit", "exited before the end of the test's body"),
    FAILS("child_returns", "a forked child returned from the body"),
};

#define EXPECTATIONS (sizeof(expectations) / sizeof(expectations[0]))

struct outcome {
    char output[16384];
    size_t length;
    int status;
};

/* The program stands beside this one. */
static const char *
selftest_path(void)
{
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
    char *slash;

    CHECK_GT(length, 0);
    path[length] = '\0';
    slash = strrchr(path, '/');
    CHECK(slash != NULL);
    memcpy(slash, "/selftest", sizeof("/selftest"));
    return path;
}

static pid_t
start_selftest(const char *argument, const char *more, int output)
{
    const char *path = selftest_path();
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    if (pid == 0) {
        (void)unsetenv("TROUPE_TEST_REPORT");
        (void)unsetenv("TROUPE_TEST_TIMEOUT_SCALE");
        CHECK_GE(dup2(output, STDOUT_FILENO), 0);
        CHECK_GE(dup2(output, STDERR_FILENO), 0);
        (void)execl(path, path, argument, more, (char *)NULL);
        FAIL("cannot run %s: %s", path, strerror(errno));
    }
    return pid;
}

static void
run_selftest_with(const char *argument, const char *more,
                  struct outcome *outcome)
{
    int pipes[2];
    pid_t pid;
    ssize_t length;

    CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
    pid = start_selftest(argument, more, pipes[1]);
    CHECK_EQ(close(pipes[1]), 0);
    outcome->length = 0;
    do {
        CHECK_LT(outcome->length, sizeof(outcome->output) - 1);
        length = read(pipes[0], outcome->output + outcome->length,
                      sizeof(outcome->output) - 1 - outcome->length);
        CHECK_GE(length, 0);
        outcome->length += (size_t)length;
    } while (length > 0);
    outcome->output[outcome->length] = '\0';
    CHECK_EQ(close(pipes[0]), 0);
    CHECK_EQ(waitpid(pid, &outcome->status, 0), pid);
}

static void
run_selftest(const char *argument, struct outcome *outcome)
{
    run_selftest_with(argument, NULL, outcome);
}

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);

    return length >= strlen(end) &&
           strcmp(text + length - strlen(end), end) == 0;
}

static void
check_expectation(const struct expectation *expected)
{
    static struct outcome outcome;

    run_selftest(expected->name, &outcome);
    (void)printf("%s", outcome.output);
    if (strncmp(outcome.output, expected->first, strlen(expected->first)) !=
            0 ||
        strstr(outcome.output, expected->says) == NULL ||
        !ends_with(outcome.output, expected->last)) {
        FAIL("%s: expected \"%s...%s\", got \"%.800s\"", expected->name,
             expected->first, expected->says, outcome.output);
    }
    CHECK(WIFEXITED(outcome.status));
    CHECK_EQ(WEXITSTATUS(outcome.status), expected->status);
}

TEST_TIMEOUT(every_selftest_gets_the_right_verdict, 120)
{
    for (size_t i = 0; i < EXPECTATIONS; i++) {
        check_expectation(&expectations[i]);
    }
}

TEST(every_selftest_has_an_expectation)
{
    static struct outcome outcome;
    size_t names = 0;

    run_selftest("--list", &outcome);
    CHECK_EQ(outcome.status, 0);
    for (const char *line = strtok(outcome.output, "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        bool known = false;

        for (size_t i = 0; i < EXPECTATIONS; i++) {
            known = known || strcmp(expectations[i].name, line) == 0;
        }
        if (!known) {
            FAIL("%s has no expectation", line);
        }
        names++;
    }
    CHECK_EQ(names, EXPECTATIONS);
}

TEST(a_filter_that_matches_nothing_is_an_error)
{
    static struct outcome outcome;

    run_selftest("no_such_test", &outcome);
    CHECK(WIFEXITED(outcome.status));
    CHECK_EQ(WEXITSTATUS(outcome.status), 1);
    CHECK(strstr(outcome.output, "no test to run") != NULL);
}

TEST(an_option_after_a_name_is_refused)
{
    static struct outcome outcome;

    run_selftest_with("passes", "--verbose", &outcome);
    CHECK(WIFEXITED(outcome.status));
    CHECK_EQ(WEXITSTATUS(outcome.status), 2);
    CHECK(strstr(outcome.output, "usage: ") != NULL);
}

TEST(a_test_that_dies_by_a_signal_dumps_no_core)
{
    struct rlimit core;

    CHECK_EQ(getrlimit(RLIMIT_CORE, &core), 0);
    CHECK_EQ(core.rlim_cur, 0);
}

TEST(an_interrupted_runner_kills_its_test)
{
    char number[16];
    int output[2];
    int told[2];
    pid_t runner;
    pid_t victim;
    int status;
    struct pollfd end = {.events = POLLIN};

    CHECK_EQ(pipe2(output, O_CLOEXEC), 0);
    CHECK_EQ(pipe(told), 0);
    (void)snprintf(number, sizeof(number), "%d", told[1]);
    CHECK_EQ(setenv("TROUPE_SELFTEST_FD", number, 1), 0);
    runner = start_selftest("hang", NULL, output[1]);
    CHECK_EQ(read(told[0], &victim, sizeof(victim)), (ssize_t)sizeof(victim));
    end.fd = (int)syscall(SYS_pidfd_open, victim, 0);
    CHECK_GE(end.fd, 0);
    CHECK_EQ(kill(runner, SIGTERM), 0);
    CHECK_EQ(waitpid(runner, &status, 0), runner);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);
    /* the runner ends after its test, so this does not wait */
    CHECK_EQ(poll(&end, 1, 0), 1);
    CHECK_EQ(close(end.fd), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(close(output[i]), 0);
        CHECK_EQ(close(told[i]), 0);
    }
}
