/* SPDX-License-Identifier: Apache-2.0 */
/* What a child of fork and clone inherits, and how it notices. */
#include "contract.h"

static _Atomic int order[8];
static _Atomic int calls;

static void
before(void)
{
    order[atomic_fetch_add(&calls, 1)] = 1;
}

static void
before_outer(void)
{
    order[atomic_fetch_add(&calls, 1)] = 2;
}

static void
in_parent(void)
{
    order[atomic_fetch_add(&calls, 1)] = 3;
}

static void
in_child(void)
{
    order[atomic_fetch_add(&calls, 1)] = 4;
}

TEST(fork_calls_its_handlers_before_in_the_parent_and_in_the_child)
{
    pid_t pid;

    CHECK_EQ(pthread_atfork(before, in_parent, in_child), 0);
    CHECK_EQ(pthread_atfork(before_outer, NULL, NULL), 0);
    pid = fork_checked();
    if (pid == 0) {
        /* Those before are called the last one first. */
        CHECK_EQ(calls, 3);
        CHECK_EQ(order[0], 2);
        CHECK_EQ(order[1], 1);
        CHECK_EQ(order[2], 4);
        _exit(0);
    }
    CHECK_EQ(calls, 3);
    CHECK_EQ(order[2], 3);
    reap_success(pid);
}

TEST(a_bare_clone_calls_no_handler)
{
    pid_t pid;

    CHECK_EQ(pthread_atfork(before, in_parent, in_child), 0);
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    CHECK_GE(pid, 0);
    if (pid == 0)
        _exit(atomic_load(&calls));
    reap_success(pid);
    CHECK_EQ(calls, 0);
}

static char *
wiped_page(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    if (madvise(page, 4096, MADV_WIPEONFORK) != 0)
        SKIP("no MADV_WIPEONFORK here: %s", strerror(errno));
    page[0] = 7;
    return page;
}

TEST(a_page_wiped_on_fork_is_zero_in_the_child_and_stays_in_the_parent)
{
    char *page = wiped_page();
    pid_t pid = fork_checked();

    if (pid == 0) {
        CHECK_EQ(page[0], 0);
        /* It is wiped again for the child's own children. */
        page[0] = 8;
        pid = fork_checked();
        if (pid == 0) {
            CHECK_EQ(page[0], 0);
            _exit(0);
        }
        reap_success(pid);
        _exit(0);
    }
    reap_success(pid);
    CHECK_EQ(page[0], 7);
    munmap(page, 4096);
}

TEST(a_page_wiped_on_fork_is_zero_after_a_bare_clone_too)
{
    char *page = wiped_page();
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    CHECK_GE(pid, 0);
    if (pid == 0)
        _exit(page[0]);
    reap_success(pid);
    CHECK_EQ(page[0], 7);
    munmap(page, 4096);
}

static void *
sleeper(void *ready)
{
    atomic_store((_Atomic int *)ready, 1);
    for (;;)
        pause();
    return NULL;
}

static int
threads(void)
{
    char line[128];
    int count = -1;
    FILE *file = fopen("/proc/self/status", "re");

    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "Threads: %d", &count) == 1)
            break;
    fclose(file);
    return count;
}

TEST(a_fork_child_has_only_the_thread_that_forked)
{
    pid_t outer = fork_checked();

    if (outer == 0) {
        _Atomic int ready = 0;
        pthread_t thread;
        pid_t pid;

        CHECK_EQ(pthread_create(&thread, NULL, sleeper, AT(&ready)), 0);
        await_value(&ready, 1);
        CHECK_GE(threads(), 2);
        pid = fork_checked();
        if (pid == 0) {
            CHECK_EQ(threads(), 1);
            _exit(0);
        }
        reap_success(pid);
        _exit(0);
    }
    reap_success(outer);
}

TEST(a_duplicate_made_with_cloexec_is_closed_by_exec)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    char path[64];
    pid_t pid;
    int status;

    CHECK_GE(copy, 100);
    CHECK_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
    pid = fork_checked();
    if (pid == 0) {
        execl("/usr/bin/test", "test", "-e", path, (char *)NULL);
        FAIL("exec: %s", strerror(errno));
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 1);
    close(copy);
    close(fd);
}
