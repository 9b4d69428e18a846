/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <troupe/time.h>

#include "base/math.h"
#include "os/clock.h"

#include <float.h>
#include <math.h>
#include <time.h>

TEST(clock_is_the_monotonic_one)
{
    struct timespec before;
    struct timespec after;
    int64_t now;

    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    now = troupe_clock();
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK_GE(now, (int64_t)before.tv_sec * 1000000000 + before.tv_nsec);
    CHECK_LE(now, (int64_t)after.tv_sec * 1000000000 + after.tv_nsec);
}

TEST(deadline_of_nothing_negative_or_nan_is_now)
{
    CHECK_EQ(troupe_after(0), TROUPE_NOW);
    CHECK_EQ(troupe_after(-0.0), TROUPE_NOW);
    CHECK_EQ(troupe_after(-1), TROUPE_NOW);
    CHECK_EQ(troupe_after(-DBL_MAX), TROUPE_NOW);
    CHECK_EQ(troupe_after(-(double)INFINITY), TROUPE_NOW);
    CHECK_EQ(troupe_after((double)NAN), TROUPE_NOW);
    CHECK_EQ(troupe_after(-(double)NAN), TROUPE_NOW);
    CHECK_EQ(troupe_after_ns(0), TROUPE_NOW);
    CHECK_EQ(troupe_after_ns(-1), TROUPE_NOW);
    CHECK_EQ(troupe_after_ns(INT64_MIN), TROUPE_NOW);
}

TEST(deadline_beyond_the_clock_is_forever)
{
    CHECK_EQ(troupe_after((double)INFINITY), TROUPE_FOREVER);
    CHECK_EQ(troupe_after(DBL_MAX), TROUPE_FOREVER);
    CHECK_EQ(troupe_after(9.3e9), TROUPE_FOREVER);
    CHECK_EQ(troupe_after(9223372036.9), TROUPE_FOREVER);
    CHECK_EQ(troupe_after_ns(INT64_MAX), TROUPE_FOREVER);
    CHECK_EQ(troupe_after_ns(INT64_MAX - 1), TROUPE_FOREVER);
}

TEST(deadline_lies_the_given_time_after_now)
{
    static const struct {
        double seconds;
        int64_t ns;
    } cases[] = {
        {1e-9, 1},
        {0.5, 500000000},
        {1, 1000000000},
        {3600, INT64_C(3600000000000)},
        {9e9, INT64_C(9000000000000000000)},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t before = troupe_clock();
        troupe_deadline from_seconds = troupe_after(cases[i].seconds);
        troupe_deadline from_ns = troupe_after_ns(cases[i].ns);
        int64_t after = troupe_clock();

        CHECK_GE(from_seconds, before + cases[i].ns);
        CHECK_LE(from_seconds, after + cases[i].ns);
        CHECK_GE(from_ns, before + cases[i].ns);
        CHECK_LE(from_ns, after + cases[i].ns);
    }
}

TEST(deadline_grows_with_the_seconds)
{
    troupe_deadline last = troupe_after(1e-12);

    /* less than a nanosecond is nothing */
    CHECK_EQ(last, TROUPE_NOW);
    for (double seconds = 1e-9; seconds < 1e12; seconds *= 1.7) {
        troupe_deadline deadline = troupe_after(seconds);

        CHECK_GT(deadline, TROUPE_NOW);
        CHECK_GE(deadline, last);
        last = deadline;
    }
    CHECK_EQ(last, TROUPE_FOREVER);
}

TEST(arithmetic_saturates_and_rounds)
{
    CHECK_EQ(troupe__time_add(1, 2), 3);
    CHECK_EQ(troupe__time_add(INT64_MAX, 0), INT64_MAX);
    CHECK_EQ(troupe__time_add(INT64_MAX, 1), INT64_MAX);
    CHECK_EQ(troupe__time_add(INT64_MAX, INT64_MAX), INT64_MAX);
    CHECK_EQ(troupe__round_up(0, 64), 0u);
    CHECK_EQ(troupe__round_up(1, 64), 64u);
    CHECK_EQ(troupe__round_up(64, 64), 64u);
    CHECK_EQ(troupe__round_up(65, 64), 128u);
    for (unsigned bit = 0; bit < 64; bit++) {
        CHECK_EQ(troupe__log2(UINT64_C(1) << bit), bit);
        CHECK_EQ(troupe__log2((UINT64_C(2) << bit) - 1), bit);
    }
}
