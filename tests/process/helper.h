/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of processes have in common.
 */
#ifndef TROUPE_TESTS_PROCESS_HELPER_H
#define TROUPE_TESTS_PROCESS_HELPER_H

#include "harness.h"

#include <troupe.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A number as a target's argument, and back. */
#define NUMBER(n) ((void *)(intptr_t)(n))
#define OF(arg)   ((int)(intptr_t)(arg))

/* In the heap, zeroed. */
#define SHARED(type) ((type *)shared_new(sizeof(type)))

static inline void *
shared_new(size_t size)
{
    void *block = troupe_calloc(1, size);

    CHECK(block != NULL);
    return block;
}

static inline int
child_returns(void *number)
{
    return OF(number);
}

static inline int
child_sleeps(void *unused)
{
    (void)unused;
    for (;;)
        (void)pause();
    return 0;
}

/* Waits for a troupe_event. */
static inline int
child_waits(void *event)
{
    CHECK_RC(troupe_event_wait(event, TROUPE_FOREVER), 0);
    return 0;
}

static inline troupe_process *
process_new(int (*target)(void *), void *arg, bool daemon)
{
    troupe_process *p = NULL;

    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = target, .arg = arg,
                                                   .daemon = daemon)),
             0);
    return p;
}

static inline troupe_process *
process_start(int (*target)(void *), void *arg)
{
    troupe_process *p = process_new(target, arg, false);

    CHECK_RC(troupe_process_start(p), 0);
    return p;
}

/* Joins, frees, and returns the exit code. */
static inline int
process_finish(troupe_process *p)
{
    int code = TROUPE_EXIT_UNKNOWN;

    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &code), 0);
    troupe_process_free(p);
    return code;
}

static inline bool
is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

/* Blocks until the descriptor is readable or at its end. */
static inline void
await_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (poll(&p, 1, -1) != 1)
        CHECK_EQ(errno, EINTR);
}

/* Ends a raw fork of the test, which must not run its exit handlers. */
static inline pid_t
fork_raw(void)
{
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    return pid;
}

static inline int
wait_raw(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* How many descriptors this process has open. */
static inline unsigned
count_fds(void)
{
    unsigned count = 0;
    int fd;

    for (fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            count++;
    return count;
}

#endif
