/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wild stores into what a pool keeps in the heap: whatever they hit, calls end,
 * with an error at worst, and no process dies of them.
 */
#include "pool_helper.h"

#include "pool/pool.h"

#include <pthread.h>
#include <sched.h>

#define ROUNDS 60u
#define TASKS  500u
#define ITEMS  100u

/* What a wild store hits. */
enum target { POOL, WORKERS, PLAN, JOB, PARTS, TARGETS };

/* In the heap. */
struct wild {
    troupe_pool *pool;
    uint32_t target;
    uint32_t stores;
    uint64_t seed;
    uint64_t at; /* the task that does it */
    uint32_t done;
};

static uint64_t
junk(uint64_t *seed)
{
    uint64_t random = next_random(seed);

    switch (next_random(seed) % 4) {
    case 0:
        return random;
    case 1:
        return random % 300;
    case 2:
        return random | UINT64_C(0xffffffff00000000);
    default:
        return 0;
    }
}

static void
scribble(struct wild *wild, void *memory, size_t size)
{
    for (uint32_t i = 0; i < wild->stores; i++) {
        size_t at = next_random(&wild->seed) % (size / 4);
        uint32_t word = (uint32_t)junk(&wild->seed);

        __atomic_store_n((uint32_t *)memory + at, word, __ATOMIC_SEQ_CST);
    }
}

static void
damage(struct wild *wild)
{
    troupe_pool *pool = wild->pool;
    size_t head = sizeof(pool->object);
    struct troupe__job *job = NULL;
    struct troupe__plan plan;
    unsigned i;

    for (i = 0; i < TROUPE__POOL_JOBS; i++)
        if (pool->jobs[i] != 0)
            job = troupe__family_at(pool->jobs[i]);
    switch (wild->target) {
    case POOL:
        scribble(wild, (char *)pool + head, sizeof(*pool) - head);
        break;
    case WORKERS:
        scribble(wild, pool->workers, 2 * sizeof(pool->workers[0]));
        break;
    case PLAN:
        if (job != NULL)
            scribble(wild, &job->plan, sizeof(job->plan));
        break;
    case JOB:
        if (job != NULL)
            scribble(wild, &job->cancelled, 64);
        break;
    default:
        if (job != NULL && troupe__plan_read(job, &plan))
            scribble(wild, job + 1,
                     (size_t)troupe__plan_size(&plan) - sizeof(*job));
        break;
    }
}

static void
damage_at(struct wild *wild, uint64_t task)
{
    if (task == wild->at &&
        __atomic_exchange_n(&wild->done, 1, __ATOMIC_SEQ_CST) == 0)
        damage(wild);
}

static int
number(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item + 1;
    return 0;
}

static int
wild_map(const void *item, void *result, void *context)
{
    damage_at(context, *(const uint64_t *)item);
    return number(item, result, NULL);
}

static int
wild_task(troupe_task *task, void *context)
{
    uint64_t value[20];

    damage_at(context, troupe_task_index(task));
    CHECK_EQ(troupe_task_size(task) % sizeof(value), 0u);
    CHECK_EQ(memcmp(troupe_task_item(task), "item", 5), 0);
    memset(value, 0, sizeof(value));
    if (troupe_task_index(task) % 3 == 0)
        return troupe_task_fail(task, -EIO, "no %s", "luck");
    return troupe_task_return(
        task, value, troupe_task_index(task) % 3 == 1 ? 8 : sizeof(value));
}

static int
items(void *arg, troupe_item *ret_item)
{
    static char item[20 * 8] = "item";
    uint64_t *given = arg;

    if (*given == ITEMS)
        return TROUPE_END;
    ret_item->data = item;
    ret_item->size = sizeof(item);
    ret_item->user = (*given)++ + 7;
    return 0;
}

/* Items of which some were overwritten end as that. */
static void
try_stream(struct wild *wild)
{
    troupe_imap *it = NULL;
    bool seen[ITEMS] = {false};
    uint64_t given = 0;
    unsigned results = 0;
    int status;

    CHECK_RC(troupe_pool_imap_unordered(
                 &it, wild->pool, wild_task, items, &given,
                 IMAP_OPTIONS(.context = wild, .window = 16, .retries = 1)),
             0);
    for (;;) {
        troupe_result result;
        void *data;

        status = troupe_imap_next(it, &result, TROUPE_FOREVER);
        if (status != 0)
            break;
        results++;
        CHECK_LT(result.index, (uint64_t)ITEMS);
        CHECK_EQ(result.user, result.index + 7);
        CHECK(!seen[result.index]);
        seen[result.index] = true;
        CHECK_NE(strnlen(result.message, TROUPE_TASK_MESSAGE),
                 (size_t)TROUPE_TASK_MESSAGE);
        if (result.status == 0 && result.size != 0)
            CHECK(result.data != NULL);
        if (result.index % 2 != 0 && result.data != NULL &&
            troupe_imap_take(it, &data) == 0)
            CHECK_RC(troupe_free(data), 0);
    }
    CHECK(status == TROUPE_END || status == -EBADMSG);
    if (status == TROUPE_END)
        CHECK_EQ(results, ITEMS);
    else
        CHECK_RC(troupe_imap_next(it, &(troupe_result){0}, TROUPE_NOW),
                 -EBADMSG);
    CHECK_RC(troupe_imap_free(it), 0);
}

static void
try_map(struct wild *wild)
{
    static uint64_t results[TASKS];
    troupe_map_report report = report_new();
    int statuses[TASKS];
    int status;

    status = troupe_pool_map(
        wild->pool, wild_map, NULL, TASKS, 0, results, 8,
        MAP_OPTIONS(.context = wild, .report = &report, .statuses = statuses),
        TROUPE_FOREVER);
    CHECK(status == 0 || status == TROUPE_TASKS_FAILED || status == -EBADMSG);
    CHECK_EQ(report.values + report.errors + report.lost + report.cancelled,
             (uint64_t)TASKS);
}

/* What anybody may ask at any time. */
static void
try_figures(troupe_pool *pool)
{
    troupe_pool_info info = {.size = sizeof(info)};
    troupe_pool_worker workers[8];
    size_t count;
    int status;

    status = troupe_pool_info_get(pool, &info);
    CHECK(status == 0 || status == -EBADMSG);
    status = troupe_pool_workers(pool, workers, 8, &count);
    CHECK(status == 0 || status == -EBADMSG);
}

/* A pool that goes on as if nothing had been. */
static void
try_whole(troupe_pool *pool)
{
    uint64_t results[TASKS];

    CHECK_RC(troupe_pool_map(pool, number, NULL, TASKS, 0, results, 8, NULL,
                             TROUPE_FOREVER),
             0);
    for (uint64_t i = 0; i < TASKS; i++)
        CHECK_EQ(results[i], i + 1);
}

static void
survive(uint32_t target, bool stream)
{
    struct wild *wild = SHARED(struct wild);

    for (unsigned round = 0; round < ROUNDS / TARGETS; round++) {
        wild->pool = pool_new(2);
        wild->target = target;
        wild->seed = harness_random() | 1;
        wild->stores = 1u << round % 7;
        wild->at = harness_random() % (stream ? ITEMS : TASKS);
        wild->done = 0;
        try_whole(wild->pool);
        if (round % 4 == 3)
            damage_at(wild, wild->at);
        try_figures(wild->pool);
        if (stream)
            try_stream(wild);
        else
            try_map(wild);
        try_figures(wild->pool);
        CHECK_EQ(wild->done, 1u);
        try_whole(wild->pool);
        /* Nobody has died of it; what the pool itself counts is gone with what
         * was there. */
        if (target != POOL)
            CHECK_EQ(pool_info(wild->pool).workers_lost, 0u);
        if (round % 2 == 0)
            pool_finish(wild->pool);
        else
            CHECK_RC(troupe_pool_free(wild->pool), 0);
    }
    CHECK_RC(troupe_free(wild), 0);
}

TEST_TIMEOUT(pool_survives_damage_of_itself, 120)
{
    survive(POOL, false);
    survive(POOL, true);
}

TEST_TIMEOUT(pool_survives_damage_of_its_workers, 120)
{
    survive(WORKERS, false);
    survive(WORKERS, true);
}

TEST_TIMEOUT(map_survives_damage, 120)
{
    survive(PLAN, false);
    survive(JOB, false);
    survive(PARTS, false);
}

TEST_TIMEOUT(stream_survives_damage, 120)
{
    survive(PLAN, true);
    survive(JOB, true);
    survive(PARTS, true);
}

/* Overwrites one word of a plan just before the workers turn to it. */
struct early {
    troupe_pool *pool;
    unsigned word;
    unsigned given;
};

/* The job's, that was offered last. */
static void
overwrite(const troupe_pool *pool, unsigned word)
{
    struct troupe__job *job = NULL;

    for (unsigned i = 0; i < TROUPE__POOL_JOBS; i++)
        if (pool->jobs[i] != 0)
            job = troupe__family_at(pool->jobs[i]);
    CHECK(job != NULL);
    ((uint32_t *)(void *)&job->plan)[word] ^= 1;
}

static int
one_item(void *arg, troupe_item *ret_item)
{
    struct early *early = arg;

    (void)ret_item;
    if (early->given++ != 0)
        return TROUPE_END;
    overwrite(early->pool, early->word);
    /* A worker that had a copy of it from before has none now. */
    while (troupe__load_seq_cst(&early->pool->workers[0].job) != 0)
        (void)sched_yield();
    return 0;
}

static int
nothing(troupe_task *task, void *context)
{
    (void)task;
    (void)context;
    return 0;
}

TEST(overwritten_plan_of_a_stream_is_used_by_nobody)
{
    struct early early = {.word = 0};

    for (; early.word < sizeof(struct troupe__plan) / 4; early.word++) {
        troupe_result result;
        troupe_imap *it = NULL;

        early.pool = pool_new(1);
        try_whole(early.pool);
        early.given = 0;
        CHECK_RC(troupe_pool_imap_unordered(&it, early.pool, nothing, one_item,
                                            &early, NULL),
                 0);
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -EBADMSG);
        CHECK(strlen(troupe_error_detail()) > 0);
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -EBADMSG);
        CHECK_RC(troupe_imap_free(it), 0);
        try_whole(early.pool);
        CHECK_EQ(pool_info(early.pool).workers_lost, 0u);
        pool_finish(early.pool);
    }
}

/* The only worker, kept from a second map until that was overwritten. */
struct gate {
    troupe_pool *pool;
    uint32_t inside;
    uint32_t calls;
    troupe_event go;
    int status[2];
};

static int
stay(const void *item, void *result, void *context)
{
    struct gate *gate = context;

    (void)item;
    (void)result;
    __atomic_store_n(&gate->inside, 1, __ATOMIC_SEQ_CST);
    return troupe_event_wait(&gate->go, TROUPE_FOREVER);
}

static int
called(const void *item, void *result, void *context)
{
    struct gate *gate = context;

    (void)item;
    (void)result;
    (void)__atomic_fetch_add(&gate->calls, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void *
map_staying(void *arg)
{
    struct gate *gate = arg;

    gate->status[0] =
        troupe_pool_map(gate->pool, stay, NULL, 1, 0, NULL, 0,
                        MAP_OPTIONS(.context = gate), TROUPE_FOREVER);
    return NULL;
}

static void *
map_overwritten(void *arg)
{
    struct gate *gate = arg;

    gate->status[1] =
        troupe_pool_map(gate->pool, called, NULL, 9, 0, NULL, 0,
                        MAP_OPTIONS(.context = gate), TROUPE_FOREVER);
    return NULL;
}

TEST(overwritten_plan_of_a_map_is_used_by_nobody)
{
    for (unsigned word = 0; word < sizeof(struct troupe__plan) / 4; word++) {
        struct gate *gate = SHARED(struct gate);
        pthread_t threads[2];

        gate->pool = pool_new(1);
        CHECK_EQ(pthread_create(&threads[0], NULL, map_staying, gate), 0);
        while (__atomic_load_n(&gate->inside, __ATOMIC_SEQ_CST) == 0)
            (void)sched_yield();
        CHECK_EQ(pthread_create(&threads[1], NULL, map_overwritten, gate), 0);
        while (troupe__load_seq_cst(&gate->pool->jobs[1]) == 0)
            (void)sched_yield();
        overwrite(gate->pool, word);
        CHECK_RC(troupe_event_set(&gate->go), 0);
        CHECK_EQ(pthread_join(threads[0], NULL), 0);
        CHECK_EQ(pthread_join(threads[1], NULL), 0);
        CHECK_RC(gate->status[0], 0);
        CHECK_RC(gate->status[1], -EBADMSG);
        CHECK_EQ(gate->calls, 0u);
        CHECK_EQ(pool_info(gate->pool).workers_lost, 0u);
        pool_finish(gate->pool);
        CHECK_RC(troupe_free(gate), 0);
    }
}
