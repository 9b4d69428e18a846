/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes and threads for the tests of this folder.
 */
#ifndef TROUPE_TESTS_UNIT_H
#define TROUPE_TESTS_UNIT_H

#include "harness.h"

#include <troupe/heap.h>

#include "heap/slot.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A child that runs `body` and exits with 0. */
static inline pid_t
unit_fork(void (*body)(void *), void *argument)
{
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    if (pid == 0) {
        body(argument);
        _exit(0);
    }
    return pid;
}

/* Waits for a child that must exit with 0. */
static inline void
unit_join(pid_t pid)
{
    int status = -1;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static inline void
unit_kill(pid_t pid)
{
    int status = -1;

    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
}

/* Kills a child that stays a zombie, so that nobody else gets its number. */
static inline void
unit_kill_only(pid_t pid)
{
    siginfo_t info;

    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static inline void
unit_reap(pid_t pid)
{
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* Flags in shared memory that one side raises and the other waits for; for
 * flags that are raised by other means it looks again every millisecond. */
static inline void
unit_raise(uint32_t *flag)
{
    (void)__atomic_fetch_add(flag, 1u, __ATOMIC_SEQ_CST);
    (void)syscall(SYS_futex, flag, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static inline void
unit_await(const uint32_t *flag, uint32_t value)
{
    struct timespec bound = {.tv_nsec = 1000000};
    uint32_t now;

    while ((now = __atomic_load_n(flag, __ATOMIC_SEQ_CST)) < value)
        (void)syscall(SYS_futex, flag, FUTEX_WAIT, now, &bound, NULL, 0);
}

static inline void
unit_sleep_forever(void)
{
    for (;;)
        (void)pause();
}

/* The calling thread's slot; it joins the family. */
static inline struct troupe__slot *
unit_slot(void)
{
    int error = 0;
    struct troupe__thread *self = troupe__thread_enter(&error);

    CHECK(self != NULL);
    return self->slot;
}

/* Waits until the thread in a slot sleeps for something of this kind. */
static inline void
unit_await_waiter(const struct troupe__slot *slot, uint32_t kind)
{
    struct timespec moment = {.tv_nsec = 20000};

    while (troupe__load_acquire(&slot->wait_kind) != kind)
        (void)nanosleep(&moment, NULL);
}

/* Cleared memory of the heap. */
static inline void *
unit_shared(size_t size)
{
    void *block = troupe_calloc(1, size);

    CHECK(block != NULL);
    return block;
}

static inline troupe_heap_info
unit_info(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_heap_info_get(&info), 0);
    return info;
}

#endif
