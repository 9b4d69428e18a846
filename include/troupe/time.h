/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines. Every call that can block takes one, absolute, as its last
 * parameter:
 *
 *     status = troupe_lock_acquire(&lock, troupe_after(0.5));
 *     status = troupe_lock_acquire(&lock, TROUPE_NOW);
 *     status = troupe_lock_acquire(&lock, TROUPE_FOREVER);
 *
 * A deadline is a point of CLOCK_MONOTONIC in nanoseconds, so a loop that
 * waits several times for one thing computes it once and cannot drift, and a
 * change of the wall clock does not matter. A deadline that has passed lets a
 * call try once, as TROUPE_NOW does, and is answered with -ETIMEDOUT.
 */
#ifndef TROUPE_TIME_H
#define TROUPE_TIME_H

#include <troupe/base.h>

TROUPE_BEGIN_DECLS

typedef int64_t troupe_deadline;

/* Do not wait: a call that would have to returns -EAGAIN (a queue) or
 * -ETIMEDOUT (everything else), as its page says. */
#define TROUPE_NOW ((troupe_deadline)0)

/* Wait without end. */
#define TROUPE_FOREVER INT64_MAX

/* The present moment of CLOCK_MONOTONIC in nanoseconds. Cannot fail, never
 * blocks; safe in any thread, after fork and in signal handlers. */
TROUPE_API int64_t troupe_clock(void);

/* The deadline that many seconds from now. Zero, a negative number and NaN
 * give TROUPE_NOW; what lies beyond the clock's range gives TROUPE_FOREVER.
 * Cannot fail, never blocks; safe in any thread, after fork and in signal
 * handlers. */
TROUPE_API troupe_deadline troupe_after(double seconds);

/* The same in nanoseconds. */
TROUPE_API troupe_deadline troupe_after_ns(int64_t nanoseconds);

TROUPE_END_DECLS

#endif
