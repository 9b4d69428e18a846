/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: a worker that dies in a task costs that task and nothing else, and
 * when the creator dies nothing of its pool stays.
 */
#include "common.h"

#include <troupe/pool.h>
#include <troupe/progress.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

enum { ITEMS = 6 };

static troupe_pool *pool;
static troupe_imap *stream;

enum { WORD_STATUS, WORD_STEPPED, WORD_SUM };

static troupe_pool *
make(void)
{
    troupe_pool *made = NULL;
    int status = troupe_pool_new(
        &made, TROUPE_OPTIONS(troupe_pool_options, .processes = 1));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
    return made;
}

static int
square(const void *item, void *result, void *context)
{
    int value;

    (void)context;
    memcpy(&value, item, sizeof(value));
    value *= value;
    memcpy(result, &value, sizeof(value));
    return 0;
}

static int
map_squares(troupe_pool *with)
{
    int items[ITEMS], results[ITEMS] = {0}, i, status;

    for (i = 0; i < ITEMS; i++)
        items[i] = i;
    status = troupe_pool_map(with, square, items, ITEMS, sizeof(int), results,
                             sizeof(int), NULL, TROUPE_FOREVER);
    for (i = 0; status == 0 && i < ITEMS; i++)
        if (results[i] != i * i)
            status = -EPROTO;
    return status;
}

/* A pool has come and gone before the blocks are counted. */
static void
setup(void)
{
    troupe_pool *first;

    limited_heap();
    first = make();
    CRASH_REQUIRE(map_squares(first) == 0 && troupe_pool_free(first) == 0,
                  CRASH_CORRUPTION, "a pool in the setup");
    counted_heap();
}

static void
check_alone(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    do {
        CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                      "no figures about the heap");
        sched_yield();
    } while (info.members != 1);
}

static void
check_status(void)
{
    int status = (int)atomic_load(crash_word(WORD_STATUS));

    if (crash_completed() && status != 0)
        crash_fail(CRASH_CORRUPTION, "the victim's call: %s",
                   troupe_error_name(status));
    check_alone();
    use_heap();
}

/* Workers live by themselves: a sleep of the creator ends. */
static bool
nudge_nothing(unsigned n)
{
    (void)n;
    return true;
}

/* ---- the victim is the creator ---- */

static void
survive(void)
{
    use_heap();
}

static void
prepare_pool(void)
{
    join_family();
    pool = make();
}

static void
victim_new(void)
{
    troupe_pool *made = NULL;

    atomic_store(crash_word(WORD_STATUS),
                 troupe_pool_new(&made, TROUPE_OPTIONS(troupe_pool_options,
                                                       .processes = 1)));
}

SCENARIO(pool_new) = {
    .operation = "troupe_pool_new",
    .state = "one worker",
    .covers = COVERS(FUNCTION(troupe_pool_new)),
    .setup = setup,
    .prepare = join_family,
    .victim = victim_new,
    .nudge = nudge_nothing,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_map(void)
{
    atomic_store(crash_word(WORD_STATUS), map_squares(pool));
}

SCENARIO(pool_map) = {
    .operation = "troupe_pool_map",
    .state = "six tasks, one worker",
    .covers = COVERS(FUNCTION(troupe_pool_map)),
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_map,
    .nudge = nudge_nothing,
    .survivors = {survive, NULL},
    .check = check_status,
};

static int
one_item(void *arg, troupe_item *ret_item)
{
    static const int value = 7;
    int *count = arg;

    if ((*count)++ != 0)
        return TROUPE_END;
    ret_item->data = &value;
    ret_item->size = sizeof(value);
    return 0;
}

static int
task_seven(troupe_task *task, void *context)
{
    int value = 0;

    (void)context;
    if (troupe_task_size(task) == sizeof(value))
        memcpy(&value, troupe_task_item(task), sizeof(value));
    return troupe_task_return(task, &value, sizeof(value));
}

static int given;

static void
victim_stream(void)
{
    static const int seven = 7;
    troupe_result result;
    void *data = NULL;
    int status = troupe_pool_imap_unordered(&stream, pool, task_seven, one_item,
                                            &given, NULL);

    if (status == 0)
        status = troupe_imap_next(stream, &result, TROUPE_FOREVER);
    if (status == 0 && (result.size != sizeof(seven) ||
                        memcmp(result.data, &seven, sizeof(seven)) != 0))
        status = -EPROTO;
    if (status == 0)
        status = troupe_imap_take(stream, &data);
    if (status == 0)
        status = troupe_free(data);
    if (status == 0)
        status = troupe_imap_free(stream);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(pool_stream) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "one task, taken, freed",
    .covers = COVERS(FUNCTION(troupe_pool_imap_unordered),
                     FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_take),
                     FUNCTION(troupe_imap_free)),
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_stream,
    .nudge = nudge_nothing,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_end(void)
{
    troupe_pool_info info = {.size = sizeof(info)};
    troupe_pool_worker worker;
    size_t count = 0;
    int status = troupe_pool_info_get(pool, &info);

    if (status == 0 && info.processes != 1)
        status = -EPROTO;
    if (status == 0)
        status = troupe_pool_workers(pool, &worker, 1, &count);
    if (status == 0 && count != 1)
        status = -EPROTO;
    if (status == 0)
        status = troupe_pool_close(pool);
    if (status == 0)
        status = troupe_pool_join(pool, TROUPE_FOREVER);
    if (status == 0)
        status = troupe_pool_free(pool);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(pool_end) = {
    .operation = "troupe_pool_close",
    .state = "idle, joined, freed",
    .covers = COVERS(FUNCTION(troupe_pool_info_get),
                     FUNCTION(troupe_pool_workers), FUNCTION(troupe_pool_close),
                     FUNCTION(troupe_pool_join), FUNCTION(troupe_pool_free)),
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_end,
    .nudge = nudge_nothing,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_terminate(void)
{
    int status = troupe_pool_terminate(pool);

    if (status == 0)
        status = troupe_pool_free(pool);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(pool_terminate) = {
    .operation = "troupe_pool_terminate",
    .state = "idle, freed",
    .covers = COVERS(FUNCTION(troupe_pool_terminate),
                     FUNCTION(troupe_pool_free)),
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_terminate,
    .nudge = nudge_nothing,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the victim is the worker ---- */

static int
task_work(troupe_task *task)
{
    int value = 0, status;
    void *block;

    block = troupe_task_alloc(task, COUNTED_SIZE);
    if (block != NULL && troupe_task_size(task) == sizeof(value) &&
        !troupe_task_cancelled(task) && troupe_task_index(task) == 0 &&
        troupe_task_attempt(task) == 1)
        memcpy(&value, troupe_task_item(task), sizeof(value));
    status = troupe_task_return(task, &value, sizeof(value));
    if (status == 0)
        status = troupe_task_fail(task, -EDOM, "%d", value);
    return status;
}

static int
task_failing(troupe_task *task, void *context)
{
    (void)context;
    (void)task_work(task);
    return 0;
}

static int
task_stepped(troupe_task *task, void *context)
{
    (void)context;
    crash_step_begin();
    (void)task_work(task);
    crash_step_end();
    return 0;
}

/* A task of each kind has run, in a pool that is gone, before the counting. */
static void
setup_stepped(void)
{
    troupe_result result;

    limited_heap();
    pool = make();
    CRASH_REQUIRE(
        map_squares(pool) == 0 &&
            troupe_pool_imap_unordered(&stream, pool, task_failing, one_item,
                                       &given, NULL) == 0 &&
            troupe_imap_next(stream, &result, PATIENCE) == 0 &&
            result.status == -EDOM && strcmp(result.message, "7") == 0 &&
            troupe_imap_free(stream) == 0 && troupe_pool_free(pool) == 0,
        CRASH_CORRUPTION, "a pool in the setup");
    given = 0;
    check_alone();
    counted_heap();
    pool = make();
}

static int
adopt_worker(void)
{
    troupe_pool_worker worker = {0};
    size_t count = 0;
    int status;

    do {
        status = troupe_pool_workers(pool, &worker, 1, &count);
        CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "workers: %s",
                      troupe_error_name(status));
        sched_yield();
    } while (count == 0 || worker.pid == 0);
    status = troupe_pool_imap_unordered(&stream, pool, task_stepped, one_item,
                                        &given, NULL);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "imap: %s",
                  troupe_error_name(status));
    return worker.pid;
}

/* That task is lost, with its reason; the next one runs in a new worker. */
static void
check_lost(void)
{
    troupe_result result;
    int status = troupe_imap_next(stream, &result, PATIENCE);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "next: %s",
                  troupe_error_name(status));
    if (result.status != -TROUPE_EWORKERLOST)
        crash_fail(CRASH_CORRUPTION, "the task of the dead worker: %s",
                   troupe_error_name(result.status));
    CRASH_REQUIRE(troupe_imap_next(stream, &result, PATIENCE) == TROUPE_END,
                  CRASH_DUPLICATE, "another result of the only task");
    CRASH_REQUIRE(troupe_imap_free(stream) == 0, CRASH_CORRUPTION, "free");
    status = map_squares(pool);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "map: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(troupe_pool_free(pool) == 0, CRASH_CORRUPTION, "free");
    check_alone();
    counted_check(0);
}

SCENARIO(pool_task) = {
    .operation = "troupe_task_return",
    .state = "the worker dies in its task",
    .covers = COVERS(FUNCTION(troupe_task_alloc), FUNCTION(troupe_task_size),
                     FUNCTION(troupe_task_cancelled),
                     FUNCTION(troupe_task_index), FUNCTION(troupe_task_attempt),
                     FUNCTION(troupe_task_item), FUNCTION(troupe_task_return),
                     FUNCTION(troupe_task_fail)),
    .setup = setup_stepped,
    .adopt = adopt_worker,
    .check = check_lost,
};

/* ---- functions without kill points ---- */

static void
setup_exempt(void)
{
    limited_heap();
    join_family();
}

static void
call_bar(void)
{
    troupe_progress *bar = NULL;

    if (troupe_progress_new(&bar, NULL) != 0)
        return;
    troupe_progress_set_total(bar, 2);
    troupe_progress_update(bar, 1);
    (void)troupe_progress_visible(bar);
    troupe_progress_free(bar);
}

#define BAR_FUNCTION(symbol)                                                 \
 EXEMPT(exempt_##symbol) = {#symbol, (void (*)(void))(symbol), setup_exempt, \
                            call_bar, "the bar is private memory"}

BAR_FUNCTION(troupe_progress_new);
BAR_FUNCTION(troupe_progress_set_total);
BAR_FUNCTION(troupe_progress_update);
BAR_FUNCTION(troupe_progress_visible);
BAR_FUNCTION(troupe_progress_free);
