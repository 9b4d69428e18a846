/* SPDX-License-Identifier: Apache-2.0 */
/* troupe: a map over worker processes, with items and results in the heap. */
#include "pool_work.h"

#include <troupe.h>

struct subject {
    troupe_pool *pool;
    troupe_map_function *function;
};

static int
empty(const void *item, void *result, void *context)
{
    const uint64_t *number = item;

    (void)context;
    *(uint64_t *)result = pool_task_empty(*number);
    return 0;
}

static int
burn(const void *item, void *result, void *context)
{
    const uint64_t *nanoseconds = item;

    (void)context;
    *(uint64_t *)result = pool_task_burn(*nanoseconds);
    return 0;
}

static void
map(void *pool, const uint64_t *items, uint64_t *results, size_t count)
{
    struct subject *subject = pool;
    int status = troupe_pool_map(subject->pool, subject->function, items, count,
                                 sizeof *items, results, sizeof *results, NULL,
                                 TROUPE_FOREVER);

    bench_check(status == 0, "troupe_pool_map: %s", troupe_strerror(status));
}

int
main(int argc, char **argv)
{
    troupe_pool_options options = {.size = sizeof options};
    struct bench_arguments arguments;
    struct subject subject;
    uint64_t *results;
    uint64_t *items;
    int status;

    bench_parse(&arguments, argc, argv);
    subject.function = pool_mode_of(&arguments) == POOL_EMPTY ? empty : burn;
    options.processes = bench_cpus();
    status = troupe_pool_new(&subject.pool, &options);
    bench_check(status == 0, "troupe_pool_new: %s", troupe_error_detail());
    items = troupe_calloc(arguments.count, sizeof *items);
    results = troupe_calloc(arguments.count, sizeof *results);
    bench_check(items && results, "troupe_calloc");
    /* The workers come to life with the first map; not timed. */
    map(&subject, items, results, arguments.count < 64 ? arguments.count : 64);
    pool_measure(&arguments, map, &subject, items, results);
    bench_check(troupe_pool_free(subject.pool) == 0, "troupe_pool_free");
    troupe_free(items);
    troupe_free(results);
    return 0;
}
