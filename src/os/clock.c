/* SPDX-License-Identifier: Apache-2.0 */
#include "os/clock.h"

#include "base/math.h"
#include "os/fault.h"

#include <troupe/time.h>

#include <time.h>

int64_t
troupe__clock_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * TROUPE__SECOND + now.tv_nsec +
           TROUPE__CLOCK_AHEAD;
}

int64_t
troupe_clock(void)
{
    return troupe__clock_now();
}

troupe_deadline
troupe_after_ns(int64_t nanoseconds)
{
    if (nanoseconds <= 0)
        return TROUPE_NOW;
    return troupe__time_add(troupe__clock_now(), nanoseconds);
}

troupe_deadline
troupe_after(double seconds)
{
    /* Written so that NaN fails the first test. */
    if (!(seconds > 0))
        return TROUPE_NOW;
    /* 2^63 ns are 292 years: beyond that the product does not fit. */
    if (seconds >= 9.2e9)
        return TROUPE_FOREVER;
    return troupe_after_ns((int64_t)(seconds * 1e9));
}
