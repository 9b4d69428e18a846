/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of everything that wakes a sleeping process: the time from
 * just before the call that wakes to just after the call that waited has
 * returned in the other process. The waker first makes sure, by the state
 * that the kernel shows, that the waiter really sleeps; so no system gains by
 * polling first. The figure is the median of a run's wake-ups, in us.
 */
#ifndef BENCH_WAKE_LOOP_H
#define BENCH_WAKE_LOOP_H

#include <bench.h>

struct wake_system {
    const char *name;
    /* Made in the measuring process, before both sides exist. */
    void *(*make)(void);
    /* The waiter sleeps until it is woken, once for every wake(). */
    void (*wait)(void *subject);
    void (*wake)(void *subject);
    /* Back to the state in which wait() sleeps; called by the waiter. */
    void (*reset)(void *subject);
};

void wake_main(const struct wake_system *systems, size_t count, int argc,
               char **argv);

#endif
