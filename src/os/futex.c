/* SPDX-License-Identifier: Apache-2.0 */
#include "os/futex.h"

#include "base/atomic.h"
#include "os/clock.h"
#include "os/fault.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
# define SYS_futex_waitv 449
#endif

/* struct futex_waitv and its flag as the kernel defines them: headers older
 * than 5.16 lack both. */
struct waitv {
    uint64_t val;
    uint64_t uaddr;
    uint32_t flags;
    uint32_t reserved;
};

#define WAITV_32 2

static struct timespec
to_timespec(int64_t ns)
{
    struct timespec t;

    t.tv_sec = (time_t)(ns / TROUPE__SECOND);
    t.tv_nsec = (long)(ns % TROUPE__SECOND);
    return t;
}

int
troupe__futex_wait(const uint32_t *word, uint32_t seen, int64_t until)
{
    int fault = TROUPE__FAULT("futex_wait");
    struct timespec t;

    if (fault != 0)
        return -fault;
    TROUPE__SLEEP("futex_wait", &until);
    t = to_timespec(until);
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &t, NULL,
                FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    return -errno;
}

int
troupe__futex_wait_any(const struct troupe__futex_target *targets,
                       unsigned count, int64_t until)
{
    /* 1: the call is there; 2: it is not. Settled by the first answer; every
     * thread finds the same, so a race writes the same value. */
    static uint32_t known;
    struct waitv v[TROUPE__FUTEX_TARGETS];
    int fault = TROUPE__FAULT("futex_waitv");
    struct timespec t;
    unsigned i;

    if (fault == EAGAIN || fault == EINTR || fault == ETIMEDOUT)
        return -fault;
    if (fault != 0)
        return -ENOSYS;
    if (troupe__load_relaxed(&known) == 2)
        return -ENOSYS;
    memset(v, 0, count * sizeof(v[0]));
    for (i = 0; i < count; i++) {
        v[i].val = targets[i].seen;
        v[i].uaddr = (uintptr_t)targets[i].word;
        v[i].flags = WAITV_32;
    }
    TROUPE__SLEEP("futex_waitv", &until);
    t = to_timespec(until);
    if (syscall(SYS_futex_waitv, v, count, 0u, &t, CLOCK_MONOTONIC) >= 0)
        return 0;
    if (errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT)
        return -errno;
    /* No memory for it now (ENOMEM), or not ever. */
    if (errno == ENOSYS || errno == EPERM)
        troupe__store_relaxed(&known, 2u);
    return -ENOSYS;
}

int
troupe__futex_wake(const uint32_t *word, int count)
{
    int saved = errno;
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);

    errno = saved;
    return woken < 0 ? 0 : (int)woken;
}
