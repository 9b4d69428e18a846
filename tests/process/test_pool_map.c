/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_helper.h"

#include <pthread.h>
#include <sys/wait.h>

#define MIX UINT64_C(0x9e3779b97f4a7c15)

static int
mix(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item * MIX;
    return 0;
}

static void
check_mixed(const uint64_t *results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (results[i] != i * MIX)
            FAIL("result %zu of %zu is wrong", i, count);
}

static void
map_of(troupe_pool *pool, size_t count, bool heap)
{
    size_t size = (count + 1) * sizeof(uint64_t);
    uint64_t *items = heap ? shared_new(size) : malloc(size);
    uint64_t *results = heap ? shared_new(size) : malloc(size);

    CHECK(items != NULL && results != NULL);
    for (size_t i = 0; i < count; i++)
        items[i] = i;
    results[count] = 42;
    CHECK_RC(troupe_pool_map(pool, mix, items, count, sizeof(*items), results,
                             sizeof(*results), NULL, TROUPE_FOREVER),
             0);
    check_mixed(results, count);
    CHECK_EQ(results[count], 42u);
    if (heap) {
        CHECK_RC(troupe_free(items), 0);
        CHECK_RC(troupe_free(results), 0);
    } else {
        free(items);
        free(results);
    }
}

TEST(map_gives_every_result_for_any_number_of_tasks_and_workers)
{
    static const size_t counts[] = {0, 1, 2, 3, 17, 100, 100000};
    static const uint32_t workers[] = {1, 2, 3, 8};

    for (size_t w = 0; w < sizeof(workers) / sizeof(workers[0]); w++) {
        troupe_pool *pool = pool_new(workers[w]);

        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            map_of(pool, counts[c], false);
            map_of(pool, counts[c], true);
        }
        CHECK_EQ(pool_info(pool).workers_lost, 0u);
        pool_finish(pool);
    }
}

static int
wait_for_event(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    return troupe_event_wait(context, TROUPE_FOREVER);
}

TEST_TIMEOUT(map_goes_on_under_a_storm_of_signals, 60)
{
    troupe_event *never = SHARED(troupe_event);
    troupe_deadline deadline;
    troupe_pool *pool;

    harness_storm(500);
    pool = pool_new(2);
    map_of(pool, 100000, false);
    for (size_t i = 0; i < 200; i++)
        map_of(pool, i % 7, true);
    deadline = troupe_after(0.1);
    CHECK_RC(troupe_pool_map(pool, wait_for_event, NULL, 3, 0, NULL, 0,
                             MAP_OPTIONS(.context = never), deadline),
             -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    map_of(pool, 10, false);
    pool_finish(pool);
    harness_storm(0);
    CHECK_GT(harness_storm_signals(), 0u);
    CHECK_RC(troupe_free(never), 0);
}

TEST(map_many_times_in_a_row)
{
    troupe_pool *pool = pool_new(2);
    uint64_t tasks = 0;

    for (size_t i = 0; i < 2000; i++) {
        map_of(pool, i % 7, (i & 1) != 0);
        tasks += i % 7;
    }
    CHECK_EQ(pool_info(pool).tasks_ended, tasks);
    pool_finish(pool);
}

static int
number(const void *item, void *result, void *context)
{
    uint8_t *seen = context;

    CHECK(result == NULL);
    (void)__atomic_fetch_add(&seen[*(const uint64_t *)item], 1,
                             __ATOMIC_RELAXED);
    return 0;
}

TEST(map_without_arrays_gives_each_number_once)
{
    enum { COUNT = 10000 };

    troupe_pool *pool = pool_new(3);
    uint8_t *seen = shared_new(COUNT);

    CHECK_RC(troupe_pool_map(pool, number, NULL, COUNT, 0, NULL, 0,
                             MAP_OPTIONS(.context = seen), TROUPE_FOREVER),
             0);
    for (size_t i = 0; i < COUNT; i++)
        CHECK_EQ(seen[i], 1);
    CHECK_EQ(pool_info(pool).tasks_ended, (uint64_t)COUNT);
    pool_finish(pool);
    CHECK_RC(troupe_free(seen), 0);
}

/* Elements of odd sizes, and a context that is copied. */
struct odd {
    char text[13];
};

static int
odd(const void *item, void *result, void *context)
{
    const struct odd *from = item;
    struct odd *to = result;
    const char *add = context;

    for (size_t i = 0; i < sizeof(from->text); i++)
        to->text[i] = (char)(from->text[i] + *add);
    return 0;
}

TEST(map_copies_context_and_elements_of_any_size)
{
    enum { COUNT = 1000 };

    static struct odd items[COUNT];
    static struct odd results[COUNT];
    troupe_pool *pool = pool_new(2);
    char add = 3;

    for (size_t i = 0; i < COUNT; i++)
        memset(items[i].text, (int)(i % 100), sizeof(items[i].text));
    CHECK_RC(troupe_pool_map(pool, odd, items, COUNT, sizeof(items[0]), results,
                             sizeof(results[0]),
                             MAP_OPTIONS(.context = &add, .context_size = 1),
                             TROUPE_FOREVER),
             0);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < sizeof(results[i].text); j++)
            CHECK_EQ(results[i].text[j], (char)(i % 100 + 3));
    pool_finish(pool);
}

static int
fail_some(const void *item, void *result, void *context)
{
    uint64_t n = *(const uint64_t *)item;

    (void)context;
    *(uint64_t *)result = n + 1;
    return n % 10 == 7 ? -(int)n : n % 10 == 8 ? (int)n : 0;
}

TEST(map_tells_which_tasks_failed_and_how)
{
    enum { COUNT = 1000 };

    troupe_pool *pool = pool_new(2);
    static uint64_t results[COUNT];
    static int statuses[COUNT];
    troupe_map_report report = report_new();

    CHECK_RC(troupe_pool_map(
                 pool, fail_some, NULL, COUNT, 0, results, sizeof(results[0]),
                 MAP_OPTIONS(.statuses = statuses, .report = &report),
                 TROUPE_FOREVER),
             TROUPE_TASKS_FAILED);
    for (size_t i = 0; i < COUNT; i++) {
        int expected = i % 10 == 7 ? -(int)i : i % 10 == 8 ? (int)i : 0;

        CHECK_EQ(statuses[i], expected);
        CHECK_EQ(results[i], expected == 0 ? i + 1 : 0u);
    }
    CHECK_EQ(report.values, 800u);
    CHECK_EQ(report.errors, 200u);
    CHECK_EQ(report.lost + report.cancelled + report.retried, 0u);
    CHECK_EQ(report.first, 7u);
    CHECK_EQ(report.first_status, -7);
    pool_finish(pool);
}

TEST(map_refuses_what_cannot_be)
{
    troupe_pool *pool = pool_new(1);
    uint64_t word = 0;
    troupe_map_report report = {.size = 3};
    troupe_map_options unknown = {.size = sizeof(unknown)};
    char private_context = 0;
    const troupe_deadline d = TROUPE_FOREVER;

    CHECK_RC(troupe_pool_map(NULL, mix, &word, 1, 8, &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map((troupe_pool *)(void *)&word, mix, &word, 1, 8,
                             &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, NULL, &word, 1, 8, &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, NULL, 1, 8, &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 0, &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, NULL, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, &word, 0, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, NULL, (size_t)TROUPE_POOL_MAX_TASKS + 1,
                             0, NULL, 0, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, TROUPE_POOL_MAX_TASKS,
                             SIZE_MAX / 2, &word, 8, NULL, d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, &word, 8,
                             MAP_OPTIONS(.context = &private_context), d),
             -EFAULT);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, &word, 8,
                             MAP_OPTIONS(.context_size = 1), d),
             -EINVAL);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, &word, 8,
                             MAP_OPTIONS(.report = &report), d),
             -EINVAL);
    memset(unknown.reserved_, 1, 1);
    CHECK_RC(troupe_pool_map(pool, mix, &word, 1, 8, &word, 8, &unknown, d),
             -E2BIG);
    map_of(pool, 10, false);
    pool_finish(pool);
}

TEST(pool_refuses_options_that_cannot_be)
{
    troupe_pool *pool = NULL;
    troupe_pool_options o = {.size = sizeof(o)};

    CHECK_RC(troupe_pool_new(NULL, NULL), -EINVAL);
    o.processes = TROUPE_POOL_MAX_PROCESSES + 1;
    CHECK_RC(troupe_pool_new(&pool, &o), -EINVAL);
    o.processes = 1;
    o.reserved_[3] = 1;
    CHECK_RC(troupe_pool_new(&pool, &o), -E2BIG);
    CHECK(pool == NULL);
    CHECK_RC(troupe_pool_free(NULL), 0);
    CHECK_RC(troupe_pool_close(NULL), -EINVAL);
    CHECK_RC(troupe_pool_info_get(NULL, NULL), -EINVAL);
}

TEST(pool_has_as_many_workers_as_it_may_use_processors)
{
    troupe_pool *pool = NULL;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    CHECK_RC(troupe_pool_new(&pool, NULL), 0);
    CHECK_GE(pool_info(pool).processes, 1u);
    CHECK_LE(pool_info(pool).processes, (uint32_t)processors);
    CHECK_EQ(pool_info(pool).alive, pool_info(pool).processes);
    map_of(pool, 100, false);
    CHECK_RC(troupe_pool_free(pool), 0);
}

TEST(pool_fills_in_what_an_older_program_has_room_for)
{
    troupe_pool *pool = pool_new(1);
    troupe_pool_info info;
    troupe_map_report report;
    uint64_t results[3];

    memset(&info, 0xee, sizeof(info));
    info.size = offsetof(troupe_pool_info, alive);
    CHECK_RC(troupe_pool_info_get(pool, &info), 0);
    CHECK_EQ(info.processes, 1u);
    CHECK_EQ(info.alive, 0xeeeeeeeeu);
    memset(&report, 0xee, sizeof(report));
    report.size = offsetof(troupe_map_report, errors);
    CHECK_RC(troupe_pool_map(pool, mix, NULL, 3, 0, results, sizeof(uint64_t),
                             MAP_OPTIONS(.report = &report), TROUPE_FOREVER),
             0);
    CHECK_EQ(report.values, 3u);
    CHECK_EQ(report.errors, UINT64_C(0xeeeeeeeeeeeeeeee));
    report.size = 7;
    CHECK_RC(troupe_pool_map(pool, mix, NULL, 3, 0, results, sizeof(uint64_t),
                             MAP_OPTIONS(.report = &report), TROUPE_FOREVER),
             -EINVAL);
    CHECK_EQ(report.values, 3u);
    pool_finish(pool);
}

/* What workers are. */

struct about {
    char name[32];
    int32_t pid;
    bool daemon;
    bool ignores_sigint;
    bool child_refused;
};

static int
about(const void *item, void *result, void *context)
{
    struct about *a = result;
    struct sigaction action;
    troupe_pool *pool;

    (void)item;
    (void)context;
    (void)snprintf(a->name, sizeof(a->name), "%s",
                   troupe_process_name(troupe_process_current()));
    a->pid = (int32_t)getpid();
    a->daemon = troupe_process_daemon(troupe_process_current());
    CHECK_EQ(sigaction(SIGINT, NULL, &action), 0);
    a->ignores_sigint = action.sa_handler == SIG_IGN;
    a->child_refused = troupe_pool_new(&pool, NULL) == -EPERM;
    return 0;
}

TEST(workers_are_daemons_with_names_that_ignore_sigint)
{
    troupe_pool *pool = NULL;
    troupe_pool_worker listed;
    size_t count = 0;
    struct about a;

    CHECK_RC(
        troupe_pool_new(&pool, TROUPE_OPTIONS(troupe_pool_options,
                                              .processes = 1, .name = "crew")),
        0);
    CHECK_RC(troupe_pool_map(pool, about, NULL, 1, 0, &a, sizeof(a), NULL,
                             TROUPE_FOREVER),
             0);
    CHECK_STR(a.name, "crew-1");
    CHECK(a.daemon);
    CHECK(a.ignores_sigint);
    CHECK(a.child_refused);
    CHECK_RC(troupe_pool_workers(pool, &listed, 1, &count), 0);
    CHECK_EQ(count, 1u);
    CHECK_EQ(listed.pid, a.pid);
    CHECK_EQ(listed.tasks_ended, 1u);
    pool_finish(pool);
    pool = pool_new(1);
    CHECK_RC(troupe_pool_map(pool, about, NULL, 1, 0, &a, sizeof(a), NULL,
                             TROUPE_FOREVER),
             0);
    CHECK_STR(a.name, "PoolWorker-1");
    pool_finish(pool);
}

/* Deadlines and stops. */

static int
wait_or_not(const void *item, void *result, void *context)
{
    *(uint64_t *)result = *(const uint64_t *)item + 1;
    if (*(const uint64_t *)item % 2 == 1)
        CHECK_RC(troupe_event_wait(context, TROUPE_FOREVER), 0);
    return 0;
}

TEST(map_past_its_deadline_ends_and_touches_nothing_afterwards)
{
    enum { COUNT = 100 };

    troupe_pool *pool = pool_new(2);
    troupe_event *never = shared_new(sizeof(*never));
    uint64_t *results = shared_new(COUNT * sizeof(*results));
    int statuses[COUNT];
    troupe_map_report report = report_new();
    uint64_t values = 0;

    CHECK_RC(troupe_pool_map(pool, wait_or_not, NULL, COUNT, 0, results,
                             sizeof(*results),
                             MAP_OPTIONS(.context = never, .statuses = statuses,
                                         .report = &report),
                             troupe_after(0.05)),
             -ETIMEDOUT);
    CHECK_STR(troupe_error_detail(), "");
    /* Whoever had been in a task would go on now. */
    CHECK_RC(troupe_event_set(never), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK(statuses[i] == 0 || statuses[i] == -ECANCELED);
        CHECK_EQ(results[i], statuses[i] == 0 ? i + 1 : 0u);
        values += statuses[i] == 0;
    }
    CHECK_EQ(report.values, values);
    CHECK_EQ(report.cancelled, COUNT - values);
    CHECK_EQ(report.lost + report.errors, 0u);
    CHECK_GE(report.cancelled, COUNT / 2 - 0u);
    CHECK_EQ(pool_info(pool).workers_lost, 0u);
    CHECK_EQ(pool_info(pool).tasks_interrupted, 0u);
    map_of(pool, 1000, true);
    pool_finish(pool);
    CHECK_RC(troupe_free(results), 0);
    CHECK_RC(troupe_free(never), 0);
}

static int
yields(const void *item, void *result, void *context)
{
    (void)item;
    (void)context;
    *(uint64_t *)result = 1;
    return 0;
}

TEST(pool_calls_give_no_reason_that_is_not_theirs)
{
    static const uint64_t item;
    troupe_pool *pool = pool_new(1);
    troupe_imap *it = NULL;
    uint64_t result;
    int status;

    CHECK_RC(troupe_pool_map(pool, NULL, NULL, 1, 0, NULL, 0, NULL, TROUPE_NOW),
             -EINVAL);
    CHECK_STR(troupe_error_detail(), "the function is NULL");
    CHECK_RC(troupe_pool_map(pool, yields, NULL, 1, 0, &result, 8, NULL,
                             TROUPE_FOREVER),
             0);
    CHECK_STR(troupe_error_detail(), "");
    /* As many as can be, and too many to be copied. */
    CHECK_RC(troupe_pool_map(pool, yields, &item, TROUPE_POOL_MAX_TASKS,
                             SIZE_MAX / TROUPE_POOL_MAX_TASKS, NULL, 0, NULL,
                             TROUPE_NOW),
             -ENOMEM);
    CHECK(strstr(troupe_error_detail(), "process") == NULL);
    CHECK(strlen(troupe_error_detail()) > 0);
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, NULL, NULL, NULL, NULL),
             -EINVAL);
    CHECK(strlen(troupe_error_detail()) > 0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_STR(troupe_error_detail(), "");
    status = troupe_pool_join(pool, TROUPE_NOW);
    CHECK(status == 0 || status == -ETIMEDOUT);
    CHECK_STR(troupe_error_detail(), "");
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_STR(troupe_error_detail(), "");
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_STR(troupe_error_detail(), "");
}

TEST(map_without_time_runs_nothing_to_its_end_unseen)
{
    troupe_pool *pool = pool_new(2);
    troupe_map_report report = report_new();
    uint64_t results[50];
    int status;

    for (int i = 0; i < 200; i++) {
        uint64_t values = 0;

        status = troupe_pool_map(
            pool, fail_some, NULL, 7, 0, results, sizeof(results[0]),
            MAP_OPTIONS(.report = &report), troupe_after_ns(i * 1000));
        CHECK(status == 0 || status == -ETIMEDOUT);
        for (uint64_t k = 0; k < 7; k++)
            values += results[k] == k + 1;
        CHECK_EQ(report.values, values);
        CHECK_EQ(report.values + report.cancelled, 7u);
        CHECK(status != 0 || report.values == 7);
    }
    map_of(pool, 100, false);
    pool_finish(pool);
}

static void *
stop_soon(void *event)
{
    CHECK_RC(troupe_event_wait(event, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_stop(troupe_process_current()), 0);
    return NULL;
}

static int
tell_and_wait(const void *item, void *result, void *context)
{
    troupe_event *events = context;

    (void)item;
    (void)result;
    CHECK_RC(troupe_event_set(&events[0]), 0);
    CHECK_RC(troupe_event_wait(&events[1], TROUPE_FOREVER), 0);
    return 0;
}

TEST(map_ends_when_its_process_is_asked_to_stop)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    troupe_map_report report = report_new();
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stop_soon, &events[0]), 0);
    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_pool_map(pool, tell_and_wait, NULL, 2, 0, NULL, 0,
                             MAP_OPTIONS(.context = events, .report = &report),
                             TROUPE_FOREVER),
             -ECANCELED);
    troupe_stoppable_end();
    CHECK_EQ(report.cancelled, 2u);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_free(events), 0);
}

/* The end of a pool. */

TEST(closed_pool_takes_no_work_and_ends)
{
    troupe_pool *pool = pool_new(2);
    uint64_t word = 0;

    CHECK_RC(troupe_pool_join(pool, TROUPE_NOW), -EBUSY);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(
        troupe_pool_map(pool, mix, &word, 1, 8, &word, 8, NULL, TROUPE_FOREVER),
        -ESHUTDOWN);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_NOW), 0);
    CHECK_EQ(pool_info(pool).alive, 0u);
    CHECK_EQ(pool_info(pool).workers_lost, 0u);
    CHECK_RC(troupe_pool_free(pool), 0);
}

TEST(terminated_pool_ends_at_once)
{
    troupe_pool *pool = pool_new(2);

    CHECK_RC(troupe_pool_terminate(pool), 0);
    CHECK_RC(troupe_pool_terminate(pool), 0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_EQ(pool_info(pool).alive, 0u);
    CHECK_RC(troupe_pool_free(pool), 0);
}

struct mapper {
    troupe_pool *pool;
    troupe_event *events;
    size_t count;
    int status;
    troupe_map_report report;
};

static void *
map_in_thread(void *arg)
{
    struct mapper *m = arg;

    m->report.size = sizeof(m->report);
    m->status =
        troupe_pool_map(m->pool, tell_and_wait, NULL, m->count, 0, NULL, 0,
                        MAP_OPTIONS(.context = m->events, .report = &m->report),
                        TROUPE_FOREVER);
    return NULL;
}

TEST(terminate_ends_a_map_in_another_thread)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    struct mapper m = {.pool = pool, .events = events, .count = 10};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, map_in_thread, &m), 0);
    CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_terminate(pool), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(m.status, -ESHUTDOWN);
    CHECK_EQ(m.report.cancelled, 10u);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_free(events), 0);
}

TEST(join_of_a_closed_pool_waits_for_a_map_in_another_thread)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    struct mapper m = {.pool = pool, .events = events, .count = 10};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, map_in_thread, &m), 0);
    CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, troupe_after(0.02)), -ETIMEDOUT);
    CHECK_RC(troupe_event_set(&events[1]), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(m.status, 0);
    CHECK_EQ(m.report.values, 10u);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_free(events), 0);
}

TEST(pool_is_freed_with_its_workers_wherever_they_are)
{
    for (int i = 0; i < 20; i++) {
        troupe_pool *pool = pool_new(2);

        if (i % 2 == 0)
            map_of(pool, (size_t)i * 10, true);
        CHECK_RC(troupe_pool_free(pool), 0);
        CHECK_RC(troupe_pool_close(pool), -EINVAL);
    }
}

static void *
map_often(void *pool)
{
    for (size_t i = 0; i < 100; i++)
        map_of(pool, i * 3, (i & 1) != 0);
    return NULL;
}

TEST(several_threads_map_at_once)
{
    troupe_pool *pool = pool_new(3);
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, map_often, pool), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    pool_finish(pool);
}

static int
use_foreign(void *arg)
{
    troupe_pool *pool = arg;
    troupe_pool_worker workers[2];
    uint64_t word = 0;
    size_t count = 0;

    CHECK_RC(
        troupe_pool_map(pool, mix, &word, 1, 8, &word, 8, NULL, TROUPE_FOREVER),
        -EXDEV);
    CHECK_RC(troupe_pool_close(pool), -EXDEV);
    CHECK_RC(troupe_pool_terminate(pool), -EXDEV);
    CHECK_RC(troupe_pool_join(pool, TROUPE_NOW), -EXDEV);
    CHECK_RC(troupe_pool_free(pool), -EXDEV);
    CHECK_EQ(pool_info(pool).processes, 2u);
    CHECK_RC(troupe_pool_workers(pool, workers, 2, &count), 0);
    CHECK_EQ(count, 2u);
    return 0;
}

TEST(other_members_may_look_and_not_touch)
{
    troupe_pool *pool = pool_new(2);

    CHECK_EQ(process_finish(process_start(use_foreign, pool)), 0);
    map_of(pool, 100, false);
    pool_finish(pool);
}

static int
leave_pool(void *arg)
{
    troupe_pool *pool = pool_new(2);

    (void)arg;
    map_of(pool, 1000, true);
    return 0;
}

TEST(pool_that_nobody_frees_ends_with_its_creator)
{
    CHECK_EQ(process_finish(process_start(leave_pool, NULL)), 0);
}

static int
die_with_pool(void *arg)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = arg;

    CHECK_RC(troupe_pool_map(pool, tell_and_wait, NULL, 10, 0, NULL, 0,
                             MAP_OPTIONS(.context = events), TROUPE_FOREVER),
             0);
    return 0;
}

TEST(pool_dies_with_its_creator_and_gives_its_memory_back)
{
    troupe_heap_info before = {.size = sizeof(before)};
    troupe_heap_info after = {.size = sizeof(after)};

    for (int i = 0; i < 12; i++) {
        troupe_event *events = shared_new(2 * sizeof(*events));
        troupe_process *p = process_start(die_with_pool, events);

        CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
        CHECK_RC(troupe_process_kill(p), 0);
        CHECK_EQ(process_finish(p), -SIGKILL);
        /* The memory goes with the last of them to die. */
        do
            CHECK_RC(troupe_heap_info_get(&after), 0);
        while (after.members != 1);
        if (i == 2)
            before = after;
        /* The events are not freed: a worker on its way out may read them. */
    }
    CHECK_LE(after.committed, before.committed + (256 << 10));
}

/* Progress. */

struct told {
    uint64_t last;
    uint64_t total;
    unsigned calls;
    pid_t pid;
};

static void
tell(uint64_t done, uint64_t total, void *arg)
{
    struct told *told = arg;

    CHECK_GE(done, told->last);
    CHECK_LE(done, total);
    told->last = done;
    told->total = total;
    told->calls++;
    told->pid = getpid();
}

TEST(map_tells_how_far_it_is)
{
    troupe_pool *pool = pool_new(2);
    struct told told = {0};
    uint64_t results[100];

    CHECK_RC(
        troupe_pool_map(pool, mix, (const uint64_t[100]){0}, 100, 8, results, 8,
                        MAP_OPTIONS(.progress = tell, .progress_arg = &told),
                        TROUPE_FOREVER),
        0);
    CHECK_GE(told.calls, 1u);
    CHECK_EQ(told.last, 100u);
    CHECK_EQ(told.total, 100u);
    CHECK_EQ(told.pid, getpid());
    pool_finish(pool);
}
