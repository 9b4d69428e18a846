/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of every pool, and what its tasks do. The pool has as many
 * workers as there are CPUs and exists before the clock starts. A system
 * gives pool_measure() one function that maps `count` items to results.
 *
 * Mode "empty": a task makes its result of its item and nothing else. The map
 * is repeated until the time is over: tasks per second, of the median map.
 * Mode "1ms": each task burns 1 ms of its own CPU time. Mode "skewed": 90 % of
 * the tasks burn 0.1 ms, 9 % 1 ms and 1 % 10 ms, mixed. Both run once, and
 * give the efficiency: the time that all tasks burn together, spread evenly
 * over the workers, divided by the time it took.
 *
 * All results are checked, while the clock stands.
 */
#ifndef BENCH_POOL_WORK_H
#define BENCH_POOL_WORK_H

#include <bench.h>

/* Maps items to results, one task each, and returns when all are there. */
typedef void pool_map(void *pool, const uint64_t *items, uint64_t *results,
                      size_t count);

enum pool_mode { POOL_EMPTY, POOL_1MS, POOL_SKEWED };

enum pool_mode pool_mode_of(const struct bench_arguments *arguments);

/* What one task does: an item says how many ns to burn, or is a number. */
uint64_t pool_task_empty(uint64_t item);
uint64_t pool_task_burn(uint64_t item);

/*
 * items and results: room for arguments->count words each, where the workers
 * find them. Reports the figure.
 */
void pool_measure(const struct bench_arguments *arguments, pool_map *map,
                  void *pool, uint64_t *items, uint64_t *results);

#endif
