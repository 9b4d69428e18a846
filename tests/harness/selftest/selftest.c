/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the runner itself: nearly all of them must fail. They are run one
 * at a time by test_selftest.c, which knows the reason each must be given.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void
wait_for_ever(void)
{
    for (;;) {
        (void)pause();
    }
}

/* Forks; the parent gets true and never waits. */
static bool
in_parent(void)
{
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    return pid > 0;
}

/* Waits for the end of every child, without looking at how they ended. */
static void
reap_all(void)
{
    while (wait(NULL) > 0 || errno == EINTR) {
    }
}

static void *
fail_in_thread(void *argument)
{
    CHECK(argument != NULL);
    return NULL;
}

static void *
wait_in_thread(void *argument)
{
    (void)argument;
    wait_for_ever();
}

TEST(passes)
{
    CHECK(true);
    CHECK_EQ(-1, -1L);
    CHECK_EQ(3U, 3);
    CHECK_NE(-1, UINT64_MAX);
    CHECK_LT(-1, 1U);
    CHECK_GE(1.5, 1);
    CHECK_EQ(harness_tmpdir(), (const void *)harness_tmpdir());
    CHECK_STR(NULL, NULL);
    CHECK_STR("a", "a");
    CHECK_MEM("ab", "ac", 1);
    CHECK_RC(-EAGAIN, -EAGAIN);
}

TEST(passing_with_joined_child_and_thread)
{
    pthread_t thread;
    int argument;

    if (!in_parent()) {
        CHECK(true);
        _exit(0);
    }
    reap_all();
    CHECK_EQ(pthread_create(&thread, NULL, fail_in_thread, &argument), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* The runner reaps orphans while the test runs: it is their parent then. */
TEST(passing_with_orphan_that_ended)
{
    char byte;
    int pipes[2];

    CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
    if (!in_parent()) {
        if (!in_parent()) {
            /* when the middle process is gone the runner is the parent */
            _exit(0);
        }
        _exit(0);
    }
    reap_all();
    CHECK_EQ(close(pipes[1]), 0);
    CHECK_EQ(read(pipes[0], &byte, 1), 0);
    CHECK_EQ(close(pipes[0]), 0);
}

TEST_SIGNAL(passing_by_signal, SIGUSR1)
{
    (void)raise(SIGUSR1);
}

TEST_SIGNAL(signal_that_does_not_come, SIGUSR1)
{
}

TEST(skipping)
{
    SKIP("no %s here", "unicorn");
}

TEST(compare_in_parent)
{
    CHECK_EQ(1 + 1, 3U);
}

TEST(sign_is_no_accident)
{
    CHECK_EQ(-1, UINT32_MAX);
}

TEST(strings_differ)
{
    CHECK_STR("left", NULL);
}

TEST(memory_differs)
{
    CHECK_MEM("abc", "abd", 3);
}

TEST(status_differs)
{
    CHECK_RC(-EAGAIN, 0);
}

TEST(fail_with_words)
{
    (void)puts("said before the failure");
    FAIL("%d words", 2);
}

TEST(check_in_child)
{
    if (!in_parent()) {
        CHECK(errno == -1);
    }
    reap_all();
}

TEST(check_in_grandchild)
{
    if (!in_parent()) {
        if (!in_parent()) {
            CHECK(errno == -2);
        }
        wait_for_ever();
    }
    wait_for_ever();
}

TEST(check_in_thread)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    (void)pthread_join(thread, NULL);
}

/* Tells its pid where the driver asks for it, and stays. */
TEST_TIMEOUT(hang, 1)
{
    const char *fd = getenv("TROUPE_SELFTEST_FD");
    pid_t pid = getpid();

    if (fd != NULL) {
        CHECK_EQ(write(atoi(fd), &pid, sizeof(pid)), (ssize_t)sizeof(pid));
    }
    wait_for_ever();
}

TEST_TIMEOUT(stubborn_tree, 1)
{
    (void)signal(SIGTERM, SIG_IGN);
    if (!in_parent() && !in_parent()) {
        (void)setsid();
    }
    wait_for_ever();
}

/* Each process forks the next and ends: no list of processes is up to date. */
TEST_TIMEOUT(hopping_process, 1)
{
    if (!in_parent()) {
        for (;;) {
            pid_t pid = fork();

            if (pid > 0) {
                _exit(0);
            }
        }
    }
    wait_for_ever();
}

TEST(leaked_fd_alone)
{
    CHECK_GE(open("/dev/zero", O_RDONLY | O_CLOEXEC), 0);
}

TEST(leaked_fd_after_low_limit)
{
    struct rlimit limit;

    CHECK_GE(open("/dev/zero", O_RDONLY | O_CLOEXEC), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

TEST(leaked_socket_name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                          "troupe-selftest-%d", (int)getpid());

    CHECK_EQ(bind(fd, (const struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                              (size_t)length)),
             0);
}

TEST(leaked_socket_file)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket",
                   harness_tmpdir());
    CHECK_EQ(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_EQ(close(fd), 0);
}

TEST(kept_fd)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    CHECK_GE(fd, 0);
    harness_keep_fd(fd);
    CHECK_GE(memfd_create("troupe-heap", MFD_CLOEXEC), 0);
}

TEST(leaked_child)
{
    if (!in_parent()) {
        wait_for_ever();
    }
}

TEST(leaked_session)
{
    int pipes[2];
    char byte;

    CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
    if (!in_parent()) {
        if (!in_parent()) {
            (void)setsid();
            CHECK_EQ(close(pipes[1]), 0);
            wait_for_ever();
        }
        _exit(0);
    }
    reap_all();
    CHECK_EQ(close(pipes[1]), 0);
    CHECK_EQ(read(pipes[0], &byte, 1), 0);
    CHECK_EQ(close(pipes[0]), 0);
}

TEST(left_zombie)
{
    siginfo_t info;

    if (!in_parent()) {
        _exit(0);
    }
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
}

TEST(leaked_thread)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, wait_in_thread, NULL), 0);
}

TEST(leaked_shm_name)
{
    char name[64];
    int fd;

    (void)snprintf(name, sizeof(name), "/troupe-selftest-%d", (int)getpid());
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(close(fd), 0);
}

TEST(leaked_file)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/deep", getenv("TMPDIR"));
    CHECK_EQ(mkdir(path, 0700), 0);
}

TEST(crashing)
{
    (void)signal(SIGSEGV, SIG_DFL);
    (void)raise(SIGSEGV);
}

TEST(aborting_child_is_not_seen)
{
    if (!in_parent()) {
        abort();
    }
    reap_all();
}

#ifdef HARNESS_ASAN
/* The child's end is not looked at, and yet its report must be seen. */
TEST(sanitizer_report_in_child)
{
    if (!in_parent()) {
        volatile size_t size = 1;
        char *memory = malloc(size);

        *(volatile char *)(memory + size) = 1;
        free(memory);
        _exit(0);
    }
    reap_all();
}
#endif

TEST(status_three)
{
    _exit(3);
}

TEST(early_exit)
{
    exit(0);
}

TEST(child_returns)
{
    if (in_parent()) {
        reap_all();
    }
}
