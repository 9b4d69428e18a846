/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_work.h"

#include <string.h>

enum { ITEM_MIX = 0x5bd1e995, MAPS_MAX = 1 << 12 };

enum pool_mode
pool_mode_of(const struct bench_arguments *arguments)
{
    bench_check(arguments->count > 0, "--count is missing");
    if (strcmp(arguments->mode, "empty") == 0)
        return POOL_EMPTY;
    if (strcmp(arguments->mode, "1ms") == 0)
        return POOL_1MS;
    if (strcmp(arguments->mode, "skewed") == 0)
        return POOL_SKEWED;
    bench_die("--mode: empty, 1ms or skewed");
}

uint64_t
pool_task_empty(uint64_t item)
{
    return item ^ ITEM_MIX;
}

/* Of the thread's own time: what others take from it is not burnt by it. */
uint64_t
pool_task_burn(uint64_t item)
{
    int64_t end = bench_cpu_now() + (int64_t)item;
    unsigned i;

    while (bench_cpu_now() < end) {
        for (i = 0; i < 100; i++)
            bench_pause();
    }
    return item ^ ITEM_MIX;
}

static uint64_t
item_of(enum pool_mode mode, uint64_t index)
{
    uint64_t mixed = index * 2654435761u % 100;

    switch (mode) {
    case POOL_EMPTY:
        return index;
    case POOL_1MS:
        return 1000000;
    case POOL_SKEWED:
        break;
    }
    return mixed == 0 ? 10000000 : mixed < 10 ? 1000000 : 100000;
}

void
pool_measure(const struct bench_arguments *arguments, pool_map *map, void *pool,
             uint64_t *items, uint64_t *results)
{
    enum pool_mode mode = pool_mode_of(arguments);
    double *times = bench_buffer(MAPS_MAX * sizeof *times);
    size_t count = arguments->count;
    size_t maps = 0;
    double total = 0;
    double took;
    int64_t stop;
    size_t i;

    for (i = 0; i < count; i++) {
        items[i] = item_of(mode, i);
        total += (double)items[i];
    }
    stop = bench_now() + (int64_t)(arguments->seconds * 1e9);
    do {
        int64_t before;

        memset(results, 0xff, count * sizeof *results);
        before = bench_now();
        map(pool, items, results, count);
        times[maps++] = (double)(bench_now() - before);
        for (i = 0; i < count; i++)
            bench_check(results[i] == (items[i] ^ ITEM_MIX),
                        "result %zu is wrong", i);
    } while (mode == POOL_EMPTY && maps < MAPS_MAX && bench_now() < stop);
    took = bench_median(times, maps);
    if (mode == POOL_EMPTY)
        bench_report("task/s", (double)count / (took / 1e9));
    else
        bench_report("efficiency", total / bench_cpus() / took);
}
