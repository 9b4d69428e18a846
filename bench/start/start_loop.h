/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of every way to start a process: one is started, runs a
 * function (or program) that ends with a status of its own, and is waited
 * for; then the next. us for one, the median of a run. Pinned nowhere: the
 * kernel places the child, as in real life. The parent is small.
 */
#ifndef BENCH_START_LOOP_H
#define BENCH_START_LOOP_H

#include <bench.h>

enum { START_STATUS = 7 };

/* Starts one, waits for it, and returns the status it ended with. */
typedef int start_one(void);

void start_measure(start_one *one, double seconds);

#endif
