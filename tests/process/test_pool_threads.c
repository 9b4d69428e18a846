/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pool used by several threads at once; also run under ThreadSanitizer,
 * which watches each process for itself.
 */
#include "pool_helper.h"

#include <pthread.h>
#include <sched.h>

#define THREADS 3
#define ROUNDS  20
#define COUNT   100

static troupe_pool *pool;
static bool ended; /* all maps and streams */

static int
plain(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item + 3;
    return 0;
}

static void *
map_often(void *unused)
{
    uint64_t results[COUNT];
    int round;

    for (round = 0; round < ROUNDS; round++) {
        uint64_t i;

        CHECK_RC(troupe_pool_map(pool, plain, NULL, COUNT, 0, results, 8,
                                 MAP_OPTIONS(.retries = UINT32_MAX),
                                 TROUPE_FOREVER),
                 0);
        for (i = 0; i < COUNT; i++)
            CHECK_EQ(results[i], i + 3);
    }
    return unused;
}

static int
number_next(void *arg, troupe_item *ret_item)
{
    uint64_t *next = arg;

    if (*next == COUNT)
        return TROUPE_END;
    ret_item->user = (*next)++;
    return 0;
}

static int
give_index(troupe_task *task, void *context)
{
    uint64_t index = troupe_task_index(task);

    (void)context;
    return troupe_task_return(task, &index, sizeof(index));
}

static void *
iterate_often(void *unused)
{
    int round;

    for (round = 0; round < ROUNDS; round++) {
        troupe_imap *it = NULL;
        troupe_result result;
        uint64_t next = 0;
        unsigned count = 0;

        CHECK_RC(troupe_pool_imap_unordered(
                     &it, pool, give_index, number_next, &next,
                     IMAP_OPTIONS(.retries = UINT32_MAX)),
                 0);
        while (count < COUNT) {
            CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
            CHECK_RC(result.status, 0);
            CHECK_EQ(*(uint64_t *)result.data, result.user);
            count++;
        }
        CHECK_RC(troupe_imap_free(it), 0);
    }
    return unused;
}

static void *
ask_often(void *unused)
{
    troupe_pool_worker workers[2];

    while (!__atomic_load_n(&ended, __ATOMIC_SEQ_CST)) {
        CHECK_LE(pool_info(pool).alive, 2u);
        CHECK_RC(troupe_pool_workers(pool, workers, 2, NULL), 0);
        (void)sched_yield();
    }
    return unused;
}

TEST_TIMEOUT(threads_share_a_pool, 120)
{
    pthread_t threads[2 * THREADS];
    pthread_t asker;
    unsigned i;

    /* Before there are threads: the sanitizer's own locks do not survive a fork
     * among them. So no worker is killed here either. */
    pool = pool_new(2);
    CHECK_EQ(pthread_create(&asker, NULL, ask_often, NULL), 0);
    for (i = 0; i < 2 * THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i % 2 == 0 ? map_often : iterate_often, NULL),
                 0);
    for (i = 0; i < 2 * THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    __atomic_store_n(&ended, true, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_join(asker, NULL), 0);
    pool_finish(pool);
}
