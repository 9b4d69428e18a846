/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openmp-dynamic-1: a parallel loop over the threads of this process, each
 * taking one item after the other from a shared counter. Threads, not
 * processes: no death of a worker is survived.
 */
#include "pool_work.h"

#include <omp.h>

typedef uint64_t task(uint64_t item);

static void
map(void *pool, const uint64_t *items, uint64_t *results, size_t count)
{
    task *const *function = pool;
    size_t i;

#pragma omp parallel for schedule(dynamic, 1)
    for (i = 0; i < count; i++)
        results[i] = (*function)(items[i]);
}

int
main(int argc, char **argv)
{
    struct bench_arguments arguments;
    uint64_t *results;
    uint64_t *items;
    task *function;

    bench_parse(&arguments, argc, argv);
    function = pool_mode_of(&arguments) == POOL_EMPTY ? pool_task_empty
                                                      : pool_task_burn;
    omp_set_num_threads((int)bench_cpus());
    items = bench_buffer(arguments.count * sizeof *items);
    results = bench_buffer(arguments.count * sizeof *results);
    /* The team of threads is made by the first loop; not timed. */
#pragma omp parallel
    bench_check(omp_get_num_threads() == (int)bench_cpus(),
                "not as many threads as CPUs");
    pool_measure(&arguments, map, &function, items, results);
    return 0;
}
