/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers that die: by their tasks, and by others, anywhere.
 */
#include "pool_helper.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Ways to die. */
enum way {
    WAY_LIVE,
    WAY_KILL,
    WAY_ABORT,
    WAY_SEGV,
    WAY_TERM,
    WAY_EXIT,
    WAY_EXIT_AT_ONCE,
    WAY_THREAD_EXIT,
    WAYS
};

static void
no_core(void)
{
    const struct rlimit none = {0, 0};

    CHECK_EQ(setrlimit(RLIMIT_CORE, &none), 0);
}

static void
die(enum way way)
{
    switch (way) {
    case WAY_KILL:
        (void)raise(SIGKILL);
        break;
    case WAY_ABORT:
        (void)signal(SIGABRT, SIG_DFL);
        abort();
    case WAY_SEGV:
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
        break;
    case WAY_TERM:
        (void)raise(SIGTERM);
        break;
    case WAY_EXIT:
        exit(7);
    case WAY_EXIT_AT_ONCE:
        _exit(0);
    case WAY_THREAD_EXIT:
        pthread_exit(NULL);
    default:
        break;
    }
}

static int
signal_of(enum way way)
{
    switch (way) {
    case WAY_KILL:
        return SIGKILL;
    case WAY_ABORT:
        return SIGABRT;
    case WAY_SEGV:
        return SIGSEGV;
    case WAY_TERM:
        return SIGTERM;
    default:
        return 0;
    }
}

static int
task_dies(const void *item, void *result, void *context)
{
    const enum way *way = context;
    uint64_t n = *(const uint64_t *)item;

    *(uint64_t *)result = n + 1;
    if (n == 5)
        die(*way);
    return 0;
}

TEST_TIMEOUT(map_reports_a_task_that_kills_its_worker, 60)
{
    enum { COUNT = 20 };

    no_core();
    for (enum way way = WAY_KILL; way < WAYS; way++) {
        troupe_pool *pool = pool_new(2);
        uint64_t results[COUNT];
        int statuses[COUNT];
        troupe_map_report report = report_new();

        CHECK_RC(troupe_pool_map(pool, task_dies, NULL, COUNT, 0, results, 8,
                                 MAP_OPTIONS(.statuses = statuses,
                                             .report = &report, .context = &way,
                                             .context_size = sizeof(way)),
                                 TROUPE_FOREVER),
                 TROUPE_TASKS_FAILED);
        for (uint64_t i = 0; i < COUNT; i++) {
            CHECK_RC(statuses[i], i == 5 ? -TROUPE_EWORKERLOST : 0);
            CHECK_EQ(results[i], i == 5 ? 0 : i + 1);
        }
        CHECK_EQ(report.values, COUNT - 1u);
        CHECK_EQ(report.lost, 1u);
        CHECK_EQ(report.first, 5u);
        CHECK_RC(report.first_status, -TROUPE_EWORKERLOST);
        /* A thread that leaves its process is a death that we finish. */
        if (way != WAY_THREAD_EXIT)
            CHECK_EQ(report.lost_signal, signal_of(way));
        CHECK_NE(report.lost_pid, 0);
        CHECK_EQ(report.workers_lost, 1u);
        CHECK_EQ(pool_info(pool).tasks_interrupted, 1u);
        CHECK_EQ(pool_info(pool).workers_lost, 1u);
        CHECK_EQ(pool_info(pool).alive, 2u);
        pool_finish(pool);
    }
}

/* Dies at the first attempts. */
struct stubborn {
    uint32_t attempts[64];
    uint32_t deaths; /* before it works */
};

static int
dies_at_first(const void *item, void *result, void *context)
{
    struct stubborn *s = context;
    uint64_t n = *(const uint64_t *)item;

    if (__atomic_fetch_add(&s->attempts[n], 1, __ATOMIC_SEQ_CST) < s->deaths &&
        n % 3 == 0)
        die(WAY_KILL);
    *(uint64_t *)result = n * 11;
    return 0;
}

TEST(map_begins_a_task_again_as_often_as_asked)
{
    enum { COUNT = 30 };

    troupe_pool *pool = pool_new(2);
    struct stubborn *s = SHARED(struct stubborn);
    uint64_t results[COUNT];
    troupe_map_report report = report_new();

    s->deaths = 2;
    CHECK_RC(troupe_pool_map(
                 pool, dies_at_first, NULL, COUNT, 0, results, 8,
                 MAP_OPTIONS(.context = s, .report = &report, .retries = 2),
                 TROUPE_FOREVER),
             0);
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(results[i], i * 11);
        CHECK_EQ(s->attempts[i], i % 3 == 0 ? 3u : 1u);
    }
    CHECK_EQ(report.retried, 20u);
    CHECK_EQ(report.workers_lost, 20u);
    memset(s->attempts, 0, sizeof(s->attempts));
    s->deaths = 3;
    CHECK_RC(troupe_pool_map(
                 pool, dies_at_first, NULL, COUNT, 0, results, 8,
                 MAP_OPTIONS(.context = s, .report = &report, .retries = 2),
                 TROUPE_FOREVER),
             TROUPE_TASKS_FAILED);
    CHECK_EQ(report.lost, 10u);
    CHECK_EQ(report.values, 20u);
    CHECK_EQ(report.retried, 20u);
    for (uint64_t i = 0; i < COUNT; i++)
        CHECK_EQ(s->attempts[i], i % 3 == 0 ? 3u : 1u);
    pool_finish(pool);
    CHECK_RC(troupe_free(s), 0);
}

/* The same in a stream. */

struct plan {
    uint64_t next;
    uint64_t end;
    enum way way;
    uint32_t deaths;
};

static int
plan_next(void *arg, troupe_item *ret_item)
{
    struct plan *p = arg;

    if (p->next == p->end)
        return TROUPE_END;
    ret_item->data = p;
    ret_item->size = sizeof(*p);
    ret_item->user = p->next++;
    return 0;
}

static int
stream_dies(troupe_task *task, void *context)
{
    const struct plan *p = troupe_task_item(task);
    uint64_t n = troupe_task_index(task);
    void *block = troupe_task_alloc(task, 10000);

    (void)context;
    CHECK(block != NULL);
    CHECK_RC(troupe_task_return(task, block, 10000), 0);
    memset(block, 'a', 10000);
    if (n % 4 == 1 && troupe_task_attempt(task) <= p->deaths)
        die(p->way);
    return 0;
}

static void
stream_with(uint32_t deaths, uint32_t retries, enum way way)
{
    enum { COUNT = 40 };

    troupe_pool *pool = pool_new(2);
    struct plan p = {.end = COUNT, .way = way, .deaths = deaths};
    troupe_imap *it = NULL;
    troupe_result result;
    unsigned lost = 0;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, stream_dies, plan_next, &p,
                                        IMAP_OPTIONS(.retries = retries)),
             0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_EQ(result.user, result.index);
        if (result.index % 4 != 1 || deaths <= retries) {
            CHECK_RC(result.status, 0);
            CHECK_EQ(result.attempts, result.index % 4 == 1 ? deaths + 1 : 1u);
            CHECK_EQ(result.size, 10000u);
            CHECK_EQ(((char *)result.data)[9999], 'a');
            continue;
        }
        lost++;
        CHECK_RC(result.status, -TROUPE_EWORKERLOST);
        CHECK_EQ(result.attempts, retries + 1);
        CHECK_EQ(result.signal, signal_of(way));
        CHECK_NE(result.pid, 0);
        CHECK(result.data == NULL);
        CHECK_STR(result.message, troupe_strerror(-TROUPE_EWORKERLOST));
    }
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_EQ(lost, deaths > retries ? 10u : 0u);
    CHECK_EQ(pool_info(pool).tasks_interrupted,
             10u * (deaths > retries ? retries + 1 : deaths));
    CHECK_RC(troupe_imap_free(it), 0);
    pool_finish(pool);
}

TEST_TIMEOUT(stream_reports_and_retries_tasks_that_kill_their_workers, 60)
{
    no_core();
    stream_with(1, 0, WAY_KILL);
    stream_with(1, 0, WAY_EXIT);
    stream_with(1, 0, WAY_ABORT);
    stream_with(1, 1, WAY_SEGV);
    stream_with(2, 3, WAY_KILL);
    stream_with(3, 1, WAY_KILL);
}

/* Workers that others kill. */

static int
plain(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item + 3;
    return 0;
}

static void
map_plain(troupe_pool *pool)
{
    uint64_t results[100];

    CHECK_RC(troupe_pool_map(pool, plain, NULL, 100, 0, results, 8, NULL,
                             TROUPE_FOREVER),
             0);
    for (uint64_t i = 0; i < 100; i++)
        CHECK_EQ(results[i], i + 3);
}

/* Kills every worker there is; how many. */
static unsigned
kill_all(troupe_pool *pool, uint32_t processes)
{
    troupe_pool_worker workers[8];
    unsigned killed = 0;

    CHECK_RC(troupe_pool_workers(pool, workers, processes, NULL), 0);
    for (uint32_t i = 0; i < processes; i++) {
        if (workers[i].pid == 0)
            continue;
        CHECK_EQ(kill(workers[i].pid, SIGKILL), 0);
        killed++;
    }
    return killed;
}

TEST_TIMEOUT(idle_workers_killed_are_replaced_and_nothing_is_lost, 60)
{
    troupe_pool *pool = pool_new(3);
    unsigned killed = 0;

    for (unsigned i = 1; i <= 30; i++) {
        map_plain(pool);
        killed += kill_all(pool, 3);
        map_plain(pool);
    }
    CHECK_GE(killed, 30u);
    CHECK_EQ(pool_info(pool).tasks_interrupted, 0u);
    pool_finish(pool);
}

TEST(pool_ends_in_order_when_its_workers_were_killed_before)
{
    for (int i = 0; i < 4; i++) {
        troupe_pool *pool = pool_new(2);

        map_plain(pool);
        CHECK_GE(kill_all(pool, 2), 1u);
        if (i & 1)
            CHECK_RC(troupe_pool_close(pool), 0);
        if (i & 1)
            CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
        if (i & 2)
            CHECK_RC(troupe_pool_terminate(pool), 0);
        CHECK_RC(troupe_pool_free(pool), 0);
    }
}

/* A task that tells when it is there, and waits. */
static int
hold(const void *item, void *result, void *context)
{
    struct {
        uint32_t inside;
        uint32_t unused;
        troupe_event go;
    } *shared = context;

    (void)__atomic_fetch_add(&shared->inside, 1, __ATOMIC_SEQ_CST);
    CHECK_RC(troupe_event_wait(&shared->go, TROUPE_FOREVER), 0);
    *(uint64_t *)result = *(const uint64_t *)item + 1;
    return 0;
}

struct held {
    uint32_t inside;
    uint32_t unused;
    troupe_event go;
};

struct kill_plan {
    troupe_pool *pool;
    struct held *held;
};

static void *
kill_when_inside(void *arg)
{
    struct kill_plan *plan = arg;

    for (uint32_t round = 1; round <= 5; round++) {
        while (__atomic_load_n(&plan->held->inside, __ATOMIC_SEQ_CST) <
               4 * round)
            (void)sched_yield();
        CHECK_EQ(kill_all(plan->pool, 4), 4u);
    }
    CHECK_RC(troupe_event_set(&plan->held->go), 0);
    return NULL;
}

TEST_TIMEOUT(all_workers_killed_at_once_in_their_tasks, 60)
{
    enum { COUNT = 50 };

    troupe_pool *pool = pool_new(4);
    struct kill_plan plan = {pool, SHARED(struct held)};
    troupe_map_report report = report_new();
    uint64_t results[COUNT];
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, kill_when_inside, &plan), 0);
    CHECK_RC(troupe_pool_map(pool, hold, NULL, COUNT, 0, results, 8,
                             MAP_OPTIONS(.context = plan.held, .retries = 5,
                                         .report = &report),
                             TROUPE_FOREVER),
             0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (uint64_t i = 0; i < COUNT; i++)
        CHECK_EQ(results[i], i + 1);
    CHECK_EQ(report.values, (uint64_t)COUNT);
    CHECK_EQ(report.retried, 20u);
    CHECK_EQ(report.workers_lost, 20u);
    pool_finish(pool);
    CHECK_RC(troupe_free(plan.held), 0);
}

/* Workers killed all through, at random moments. */

enum { TASKS = 100000 };

struct history {
    uint32_t begun[TASKS];
    uint64_t results[TASKS];
};

struct storm {
    troupe_pool *pool;
    uint32_t processes;
    uint64_t seed;
    uint32_t over;
    uint32_t kills;
    uint32_t busy_kills;
};

static void *
storm_thread(void *arg)
{
    struct storm *storm = arg;
    troupe_pool_worker workers[8];

    while (__atomic_load_n(&storm->over, __ATOMIC_SEQ_CST) == 0) {
        int64_t until =
            troupe_clock() + (int64_t)(next_random(&storm->seed) % 1000000);
        uint32_t one = (uint32_t)(next_random(&storm->seed) % storm->processes);

        while (troupe_clock() < until)
            (void)sched_yield();
        CHECK_RC(
            troupe_pool_workers(storm->pool, workers, storm->processes, NULL),
            0);
        if (workers[one].pid == 0 || kill(workers[one].pid, SIGKILL) != 0)
            continue;
        storm->kills++;
        storm->busy_kills += workers[one].busy;
    }
    return NULL;
}

static void
storm_begin(struct storm *storm, troupe_pool *pool, uint32_t processes,
            pthread_t *thread)
{
    memset(storm, 0, sizeof(*storm));
    storm->pool = pool;
    storm->processes = processes;
    storm->seed = harness_random() | 1;
    CHECK_EQ(pthread_create(thread, NULL, storm_thread, storm), 0);
}

static void
storm_end(struct storm *storm, pthread_t thread)
{
    __atomic_store_n(&storm->over, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static int
historic(const void *item, void *result, void *context)
{
    struct history *h = context;
    uint64_t n = *(const uint64_t *)item;

    (void)__atomic_fetch_add(&h->begun[n], 1, __ATOMIC_SEQ_CST);
    /* Some work, so that kills find tasks. */
    for (volatile unsigned i = 0; i < n % 512; i++)
        ;
    *(uint64_t *)result = n * n;
    return 0;
}

/* One map of all tasks under the storm; each ends in exactly one state. */
static void
map_in_storm(troupe_pool *pool, struct history *h, uint32_t retries,
             uint64_t *ret_lost)
{
    static int statuses[TASKS];
    troupe_map_report report = report_new();
    uint64_t interrupted = pool_info(pool).tasks_interrupted;
    uint64_t lost = 0;
    uint64_t begun = 0;
    int status;

    memset(h, 0, sizeof(*h));
    status =
        troupe_pool_map(pool, historic, NULL, TASKS, 0, h->results, 8,
                        MAP_OPTIONS(.context = h, .retries = retries,
                                    .report = &report, .statuses = statuses),
                        TROUPE_FOREVER);
    for (uint64_t i = 0; i < TASKS; i++) {
        begun += h->begun[i];
        if (statuses[i] == 0) {
            CHECK_EQ(h->results[i], i * i);
            CHECK_GE(h->begun[i], 1u);
            CHECK(retries != 0 || h->begun[i] == 1);
            continue;
        }
        CHECK_RC(statuses[i], -TROUPE_EWORKERLOST);
        CHECK_EQ(h->results[i], 0u);
        CHECK_LE(h->begun[i], 1 + retries);
        lost++;
    }
    CHECK_RC(status, lost == 0 ? 0 : TROUPE_TASKS_FAILED);
    CHECK_EQ(report.lost, lost);
    CHECK_EQ(report.values, TASKS - lost);
    CHECK_EQ(report.errors + report.cancelled, 0u);
    CHECK_LE(begun, TASKS + report.retried);
    CHECK_EQ(pool_info(pool).tasks_interrupted - interrupted,
             report.retried + report.lost);
    CHECK(retries == 0 || lost == 0);
    *ret_lost += lost;
}

TEST_TIMEOUT(map_is_exact_while_workers_are_killed_at_random_moments, 120)
{
    troupe_pool *pool = pool_new(3);
    struct history *h = SHARED(struct history);
    struct storm storm;
    pthread_t thread;
    uint64_t lost = 0;
    unsigned maps = 0;

    storm_begin(&storm, pool, 3, &thread);
    while (__atomic_load_n(&storm.kills, __ATOMIC_RELAXED) < 300) {
        map_in_storm(pool, h, maps % 2 == 0 ? 0 : 1000, &lost);
        maps++;
    }
    storm_end(&storm, thread);
    printf("%u maps, %u kills, %u of busy workers, %llu tasks lost\n", maps,
           storm.kills, storm.busy_kills, (unsigned long long)lost);
    CHECK_GE(pool_info(pool).tasks_interrupted, 1u);
    map_plain(pool);
    pool_finish(pool);
    CHECK_RC(troupe_free(h), 0);
}

/* A map that ends by its deadline under the storm. */
TEST_TIMEOUT(deadlines_hold_while_workers_are_killed, 120)
{
    troupe_pool *pool = pool_new(3);
    struct history *h = SHARED(struct history);
    troupe_map_report report = report_new();
    struct storm storm;
    pthread_t thread;
    int status;

    storm_begin(&storm, pool, 3, &thread);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t values = 0;

        memset(h, 0, sizeof(*h));
        status = troupe_pool_map(
            pool, historic, NULL, TASKS / 10, 0, h->results, 8,
            MAP_OPTIONS(.context = h, .report = &report, .retries = 1000),
            troupe_after_ns((int64_t)i * 30000));
        CHECK(status == 0 || status == -ETIMEDOUT);
        for (uint64_t k = 1; k < TASKS / 10; k++) {
            CHECK(h->results[k] == 0 || h->results[k] == k * k);
            values += h->results[k] != 0;
        }
        CHECK_GE(report.values, values);
        CHECK_LE(report.values, values + 1); /* the first result is 0 */
        CHECK_EQ(report.values + report.cancelled, TASKS / 10u);
    }
    storm_end(&storm, thread);
    map_plain(pool);
    pool_finish(pool);
    CHECK_RC(troupe_free(h), 0);
}

/* A stream under the storm. */

struct stream_source {
    uint64_t next;
    uint64_t end;
    uint64_t item[4]; /* inline, or with more of it in a block */
};

static int
storm_next(void *arg, troupe_item *ret_item)
{
    struct stream_source *s = arg;

    if (s->next == s->end)
        return TROUPE_END;
    s->item[0] = s->next;
    ret_item->data = s->item;
    ret_item->size = sizeof(s->item);
    ret_item->user = s->next++;
    return 0;
}

static int
storm_task(troupe_task *task, void *context)
{
    const uint64_t *item = troupe_task_item(task);
    uint64_t *value;
    size_t size = 8 + *item * 37 % 20000;

    (void)context;
    CHECK_EQ(*item, troupe_task_index(task));
    value = troupe_task_alloc(task, size);
    if (value == NULL)
        return -ENOMEM;
    memset(value, (int)*item, size);
    *value = *item * *item;
    return troupe_task_return(task, value, size);
}

static void
stream_in_storm(troupe_pool *pool, uint32_t retries, uint64_t count)
{
    struct stream_source s = {.end = count};
    uint8_t *seen = calloc(count, 1);
    uint64_t interrupted = pool_info(pool).tasks_interrupted;
    troupe_imap *it = NULL;
    troupe_result result;
    uint64_t lost = 0;
    uint64_t again = 0;
    int status;

    CHECK_RC(troupe_pool_imap_unordered(
                 &it, pool, storm_task, storm_next, &s,
                 IMAP_OPTIONS(.retries = retries, .window = 20)),
             0);
    while ((status = troupe_imap_next(it, &result, TROUPE_FOREVER)) == 0) {
        CHECK_LT(result.index, count);
        CHECK_EQ(result.user, result.index);
        CHECK_EQ(seen[result.index], 0);
        seen[result.index] = 1;
        again += result.attempts - 1;
        if (result.status == 0) {
            CHECK_EQ(result.size, 8 + result.index * 37 % 20000);
            CHECK_EQ(*(uint64_t *)result.data, result.index * result.index);
            for (size_t i = 8; i < result.size; i++)
                if (((unsigned char *)result.data)[i] !=
                    (unsigned char)result.index)
                    FAIL("byte %zu of value %llu", i,
                         (unsigned long long)result.index);
            continue;
        }
        CHECK_RC(result.status, -TROUPE_EWORKERLOST);
        CHECK_EQ(result.attempts, retries + 1);
        CHECK_EQ(result.signal, SIGKILL);
        lost++;
    }
    CHECK_RC(status, TROUPE_END);
    for (uint64_t i = 0; i < count; i++)
        CHECK_EQ(seen[i], 1);
    CHECK_EQ(pool_info(pool).tasks_interrupted - interrupted, again + lost);
    CHECK(retries == 0 || lost == 0);
    CHECK_RC(troupe_imap_free(it), 0);
    free(seen);
}

TEST_TIMEOUT(stream_is_exact_while_workers_are_killed_at_random_moments, 120)
{
    troupe_pool *pool = pool_new(3);
    troupe_heap_info before = {.size = sizeof(before)};
    troupe_heap_info after = {.size = sizeof(after)};
    struct storm storm;
    pthread_t thread;
    unsigned streams = 0;

    storm_begin(&storm, pool, 3, &thread);
    while (streams < 4 ||
           __atomic_load_n(&storm.kills, __ATOMIC_RELAXED) < 300) {
        stream_in_storm(pool, streams % 2 == 0 ? 0 : 1000, 2000);
        if (streams++ == 2)
            CHECK_RC(troupe_heap_info_get(&before), 0);
    }
    storm_end(&storm, thread);
    CHECK_RC(troupe_heap_info_get(&after), 0);
    printf("%u streams, %u kills, %u of busy workers\n", streams, storm.kills,
           storm.busy_kills);
    CHECK_GE(pool_info(pool).tasks_interrupted, 1u);
    /* What the killed had does not pile up. */
    CHECK_LE(after.committed, before.committed + (1 << 20));
    map_plain(pool);
    pool_finish(pool);
}

/* Iterators given up under the storm. */
TEST_TIMEOUT(streams_are_given_up_while_workers_are_killed, 120)
{
    troupe_pool *pool = pool_new(3);
    struct storm storm;
    pthread_t thread;

    storm_begin(&storm, pool, 3, &thread);
    for (unsigned i = 0; i < 200; i++) {
        struct stream_source s = {.end = 100};
        troupe_imap *it = NULL;
        troupe_result result;

        CHECK_RC(troupe_pool_imap_unordered(&it, pool, storm_task, storm_next,
                                            &s, IMAP_OPTIONS(.retries = 1000)),
                 0);
        for (unsigned k = 0; k < i % 50; k++)
            CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_imap_free(it), 0);
    }
    storm_end(&storm, thread);
    map_plain(pool);
    pool_finish(pool);
}

/* A stopped worker holds up its own task and nothing else. */

static void *
stop_one(void *arg)
{
    struct kill_plan *plan = arg;
    troupe_pool_worker worker;

    while (__atomic_load_n(&plan->held->inside, __ATOMIC_SEQ_CST) == 0)
        (void)sched_yield();
    CHECK_RC(troupe_pool_workers(plan->pool, &worker, 1, NULL), 0);
    CHECK_NE(worker.pid, 0);
    CHECK_EQ(kill(worker.pid, SIGSTOP), 0);
    CHECK_RC(troupe_event_set(&plan->held->go), 0);
    return NULL;
}

TEST(a_stopped_worker_is_ended_at_the_deadline)
{
    enum { COUNT = 20 };

    troupe_pool *pool = pool_new(1);
    struct kill_plan plan = {pool, SHARED(struct held)};
    troupe_map_report report = report_new();
    uint64_t results[COUNT];
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stop_one, &plan), 0);
    CHECK_RC(
        troupe_pool_map(pool, hold, NULL, COUNT, 0, results, 8,
                        MAP_OPTIONS(.context = plan.held, .report = &report),
                        troupe_after(0.2)),
        -ETIMEDOUT);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_GE(report.cancelled, 1u);
    map_plain(pool);
    pool_finish(pool);
    CHECK_RC(troupe_free(plan.held), 0);
}

/* The creator's own children, and a host that reaps everything. */

static int
reap_all(const void *item, void *result, void *context)
{
    return plain(item, result, context);
}

TEST(map_survives_a_host_that_ignores_sigchld)
{
    enum way way = WAY_KILL;
    troupe_pool *pool;
    uint64_t results[20];
    troupe_map_report report = report_new();

    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    pool = pool_new(2);
    CHECK_RC(troupe_pool_map(pool, task_dies, NULL, 20, 0, results, 8,
                             MAP_OPTIONS(.context = &way,
                                         .context_size = sizeof(way),
                                         .report = &report),
                             TROUPE_FOREVER),
             TROUPE_TASKS_FAILED);
    CHECK_EQ(report.lost, 1u);
    CHECK_EQ(report.values, 19u);
    CHECK_RC(troupe_pool_map(pool, reap_all, NULL, 20, 0, results, 8, NULL,
                             TROUPE_FOREVER),
             0);
    pool_finish(pool);
}

/* Many workers: each death is noticed. */
TEST_TIMEOUT(each_of_many_workers_may_die_in_its_task, 60)
{
    enum { PROCESSES = 40 };

    troupe_pool *pool = pool_new(PROCESSES);
    struct stubborn *s = SHARED(struct stubborn);
    troupe_map_report report = report_new();
    uint64_t results[64];

    s->deaths = 1;
    for (unsigned i = 0; i < 3; i++) {
        memset(s->attempts, 0, sizeof(s->attempts));
        CHECK_RC(troupe_pool_map(
                     pool, dies_at_first, NULL, 64, 0, results, 8,
                     MAP_OPTIONS(.context = s, .report = &report, .retries = 1),
                     TROUPE_FOREVER),
                 0);
        CHECK_EQ(report.retried, 22u);
    }
    pool_finish(pool);
    CHECK_RC(troupe_free(s), 0);
}

/* Every process that is forked dies at once. */
static bool forks_die;

static void
die_if_told(void)
{
    if (forks_die)
        _exit(99);
}

static int
task_lives(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    return 0;
}

TEST_TIMEOUT(work_ends_when_workers_die_before_they_take_any, 120)
{
    troupe_pool *pool = pool_new(2);
    troupe_map_report report = report_new();
    troupe_pool_worker workers[2];
    siginfo_t info;
    unsigned i;

    CHECK_EQ(pthread_atfork(NULL, NULL, die_if_told), 0);
    CHECK_RC(troupe_pool_map(pool, task_lives, NULL, 10, 0, NULL, 0, NULL,
                             TROUPE_FOREVER),
             0);
    /* Both are there, though one may have done everything. */
    do
        CHECK_RC(troupe_pool_workers(pool, workers, 2, NULL), 0);
    while (workers[0].pid == 0 || workers[1].pid == 0);
    forks_die = true;
    for (i = 0; i < 2; i++) {
        CHECK_EQ(kill(workers[i].pid, SIGKILL), 0);
        CHECK_EQ(waitid(P_PID, (id_t)workers[i].pid, &info, WEXITED | WNOWAIT),
                 0);
    }
    CHECK_RC(
        troupe_pool_map(pool, task_lives, NULL, 10, 0, NULL, 0,
                        MAP_OPTIONS(.retries = UINT32_MAX, .report = &report),
                        TROUPE_FOREVER),
        -TROUPE_EWORKERLOST);
    CHECK_EQ(report.values + report.cancelled, 10u);
    CHECK_EQ(report.lost, 0u);
    CHECK_RC(report.first_status, -ECANCELED);
    /* It was not the pool's fault. */
    forks_die = false;
    CHECK_RC(troupe_pool_map(pool, task_lives, NULL, 10, 0, NULL, 0, NULL,
                             TROUPE_FOREVER),
             0);
    pool_finish(pool);
}

static int
task_doubles(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item * 2;
    return 0;
}

/* Workers are children like others: also for who ends them and closes them. */
TEST_TIMEOUT(pool_replaces_a_worker_that_was_closed, 60)
{
    troupe_pool *pool = pool_new(1);
    troupe_process **list;
    uint64_t result;
    size_t count;
    pid_t pid;

    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 1u);
    pid = troupe_process_pid(list[0]);
    CHECK_RC(troupe_process_kill(list[0]), 0);
    CHECK_RC(troupe_process_join(list[0], TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_close(list[0]), 0);
    troupe_process_list_free(list);
    CHECK_RC(troupe_pool_map(pool, task_doubles, (uint64_t[]){21}, 1, 8,
                             &result, 8, NULL, TROUPE_FOREVER),
             0);
    CHECK_EQ(result, 42u);
    CHECK_EQ(pool_info(pool).workers_lost, 1u);
    CHECK_EQ(kill(pid, 0), -1);
    pool_finish(pool);
}
