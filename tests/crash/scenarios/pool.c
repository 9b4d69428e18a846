/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: a worker that dies in a task costs that task and nothing else, and
 * when the creator dies nothing of its pool stays.
 */
#include "common.h"

#include <troupe/pool.h>
#include <troupe/progress.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 6 };

static troupe_pool *pool;
static troupe_imap *stream;

enum {
    WORD_STATUS,
    WORD_STEPPED,
    GATE_IN_TASK = 5,
    GATE_LEAVE_TASK,
    GATE_BOTH_READY
};

static void setup(void);

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
check_hands(unsigned hands)
{
    int status = (int)atomic_load(crash_word(WORD_STATUS));

    if (crash_completed() && status != 0)
        crash_fail(CRASH_CORRUPTION, "the victim's call: %s",
                   troupe_error_name(status));
    check_alone();
    counted_check(hands);
}

static void
check_status(void)
{
    check_hands(0);
}

/* The same, where the victim may die with a value in its hands. */
static void
check_status_with_hands(void)
{
    check_hands(crash_completed() ? 0 : 1);
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
    .function = {FUNCTION(troupe_pool_new)},
    .state = "one worker",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_new,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_map(void)
{
    atomic_store(crash_word(WORD_STATUS), map_squares(pool));
}

SCENARIO(pool_map) = {
    .function = {FUNCTION(troupe_pool_map)},
    .state = "six tasks, one worker",
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_map,
    .nudge = crash_sleeps_end,
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

/* Too large for a slot: it is kept in a block beside. */
static int
big_item(void *arg, troupe_item *ret_item)
{
    static const unsigned char value[COUNTED_SIZE] = {1, 2, 3};
    int *count = arg;

    if ((*count)++ != 0)
        return TROUPE_END;
    ret_item->data = value;
    ret_item->size = sizeof(value);
    return 0;
}

static int
task_seven(troupe_task *task, void *context)
{
    const unsigned char *item = troupe_task_item(task);
    int value = 0;

    (void)context;
    if (troupe_task_size(task) == COUNTED_SIZE && item[2] == 3)
        value = 7;
    return troupe_task_return(task, &value, sizeof(value));
}

static int given;

static void
victim_stream(void)
{
    static const int seven = 7;
    troupe_result result;
    void *data = NULL;
    int status = troupe_pool_imap_unordered(&stream, pool, task_seven, big_item,
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

/* A pool, with a map and a stream, has come and gone before the counting. */
static void
setup(void)
{
    limited_heap();
    pool = make();
    CRASH_REQUIRE(map_squares(pool) == 0, CRASH_CORRUPTION,
                  "a map in the setup");
    victim_stream();
    CRASH_REQUIRE(atomic_load(crash_word(WORD_STATUS)) == 0 &&
                      troupe_pool_free(pool) == 0,
                  CRASH_CORRUPTION, "a stream in the setup");
    given = 0;
    check_alone();
    counted_heap();
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
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status_with_hands,
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
    /* Who was joined has ended, and was reaped. */
    if (status == 0 && (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD))
        status = -EPROTO;
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
    .nudge = crash_sleeps_end,
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

/* Its task never returns by itself. */
static int
task_sleeping(troupe_task *task, void *context)
{
    (void)task;
    (void)context;
    crash_gate_open(GATE_IN_TASK);
    for (;;)
        pause();
    return 0;
}

/* A pool whose worker is in such a task. */
static void
prepare_in(troupe_task_function *task)
{
    int status;

    prepare_pool();
    status =
        troupe_pool_imap_unordered(&stream, pool, task, one_item, &given, NULL);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "imap: %s",
                  troupe_error_name(status));
    crash_gate_wait(GATE_IN_TASK);
}

static void
prepare_busy(void)
{
    prepare_in(task_sleeping);
}

/* Ends when it is told to. */
static int
task_waiting(troupe_task *task, void *context)
{
    (void)task;
    (void)context;
    crash_gate_open(GATE_IN_TASK);
    crash_gate_wait(GATE_LEAVE_TASK);
    return 0;
}

static void
prepare_working(void)
{
    prepare_in(task_waiting);
}

static void
victim_join_working(void)
{
    troupe_result result;
    int status = troupe_pool_close(pool);

    /* It waits for who still works, */
    if (status == 0 && troupe_pool_join(pool, TROUPE_NOW) != -ETIMEDOUT)
        status = -EPROTO;
    crash_gate_open(GATE_LEAVE_TASK);
    if (status == 0)
        status = troupe_imap_next(stream, &result, TROUPE_FOREVER);
    if (status == 0)
        status = troupe_imap_free(stream);
    if (status == 0)
        status = troupe_pool_join(pool, TROUPE_FOREVER);
    /* until it is gone. */
    if (status == 0 && (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD))
        status = -EPROTO;
    if (status == 0)
        status = troupe_pool_free(pool);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(pool_join_working) = {
    .operation = "troupe_pool_join",
    .state = "a worker is in its task, freed",
    .covers = COVERS(FUNCTION(troupe_pool_close), FUNCTION(troupe_pool_join),
                     FUNCTION(troupe_pool_free)),
    .setup = setup,
    .prepare = prepare_working,
    .victim = victim_join_working,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

SCENARIO(pool_terminate_busy) = {
    .operation = "troupe_pool_terminate",
    .state = "a worker sleeps in its task, freed",
    .covers = COVERS(FUNCTION(troupe_pool_terminate),
                     FUNCTION(troupe_pool_free)),
    .setup = setup,
    .prepare = prepare_busy,
    .victim = victim_terminate,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

SCENARIO(pool_terminate) = {
    .operation = "troupe_pool_terminate",
    .state = "idle, freed",
    .covers = COVERS(FUNCTION(troupe_pool_terminate),
                     FUNCTION(troupe_pool_free)),
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_terminate,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_free(void)
{
    int status = troupe_pool_free(pool);

    /* It has ended the workers. */
    if (status == 0 && (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD))
        status = -EPROTO;
    atomic_store(crash_word(WORD_STATUS), status);
}

static void end_pool(void);

/* The next pool leaves nothing either, while its creator lives on. */
static void
check_freed(void)
{
    check_status();
    pool = make();
    end_pool();
}

SCENARIO(pool_free) = {
    .function = {FUNCTION(troupe_pool_free)},
    .state = "open, idle",
    .setup = setup,
    .prepare = prepare_pool,
    .victim = victim_free,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_freed,
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

static pid_t
await_worker(void)
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
    return worker.pid;
}

static int
adopt_with(troupe_task_function *task, troupe_pool_source *source)
{
    pid_t pid = await_worker();
    int status =
        troupe_pool_imap_unordered(&stream, pool, task, source, &given, NULL);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "imap: %s",
                  troupe_error_name(status));
    return pid;
}

static int
adopt_worker(void)
{
    return adopt_with(task_stepped, one_item);
}

/* The pool goes on with a new worker, and leaves nothing when it is freed. */
static void
end_pool(void)
{
    int status = map_squares(pool);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "map: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(troupe_pool_free(pool) == 0, CRASH_CORRUPTION, "free");
    check_alone();
    counted_check(0);
}

static void
end_stream(void)
{
    troupe_result result;
    int status = troupe_imap_next(stream, &result, PATIENCE);

    CRASH_REQUIRE(status == TROUPE_END, CRASH_DUPLICATE,
                  "another result of the only task");
    CRASH_REQUIRE(troupe_imap_free(stream) == 0, CRASH_CORRUPTION, "free");
    end_pool();
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
    end_stream();
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

/* ---- the worker from its task to its next sleep ---- */

static unsigned char big_value[COUNTED_SIZE];

static int
task_committing(troupe_task *task, void *context)
{
    (void)context;
    memset(big_value, 0x5a, sizeof(big_value));
    crash_step_begin();
    return troupe_task_return(task, big_value, sizeof(big_value));
}

static int
adopt_committing(void)
{
    return adopt_with(task_committing, big_item);
}

/* Its value, whole, or its loss: one of the two, once. */
static void
check_committed(void)
{
    troupe_result result;
    void *taken = NULL;
    int status = troupe_imap_next(stream, &result, PATIENCE);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "next: %s",
                  troupe_error_name(status));
    if (result.status == 0) {
        if (result.size != sizeof(big_value) ||
            !has_pattern(result.data, result.size, 0x5a))
            crash_fail(CRASH_CORRUPTION, "a value of %zu bytes", result.size);
        CRASH_REQUIRE(troupe_imap_take(stream, &taken) == 0 &&
                          troupe_free(taken) == 0,
                      CRASH_CORRUPTION, "the value cannot be taken");
    } else if (result.status != -TROUPE_EWORKERLOST)
        crash_fail(CRASH_CORRUPTION, "the task of the dead worker: %s",
                   troupe_error_name(result.status));
    end_stream();
}

SCENARIO(pool_commit) = {
    .function = {FUNCTION(troupe_task_return)},
    .state = "a value in a block, the worker goes on until it sleeps",
    .setup = setup_stepped,
    .adopt = adopt_committing,
    .blocks = true,
    .check = check_committed,
};

/* ---- the worker from one task of a stream to the end of the next ---- */

enum { PAIR = 2 };

static const unsigned char pair_values[PAIR] = {0xb1, 0xb2};

static int
two_items(void *arg, troupe_item *ret_item)
{
    int *count = arg;

    if (*count == PAIR)
        return TROUPE_END;
    ret_item->data = &pair_values[*count];
    ret_item->size = 1;
    (*count)++;
    return 0;
}

/*
 * Steps from the first task to the sleep, through the claim of the second.
 * The worker that takes the dead one's place is not stepped.  Each waits until
 * both items are ready, so that there is a second one to claim.
 */
static int
task_of_two(troupe_task *task, void *context)
{
    (void)context;
    if (atomic_exchange(crash_word(WORD_STEPPED), 1) == 0) {
        crash_gate_wait(GATE_BOTH_READY);
        crash_step_begin();
    }
    return troupe_task_return(task, troupe_task_item(task),
                              troupe_task_size(task));
}

static int
adopt_of_two(void)
{
    pid_t pid = adopt_with(task_of_two, two_items);

    crash_gate_open(GATE_BOTH_READY);
    return pid;
}

/* Each of the two is told once, its value or its loss, and at most one is lost:
 * the other one was not begun, or had ended. */
static void
check_of_two(void)
{
    unsigned told[PAIR] = {0}, lost = 0, i;

    for (i = 0; i < PAIR; i++) {
        troupe_result result;
        int status = troupe_imap_next(stream, &result, PATIENCE);

        CRASH_REQUIRE(status == 0,
                      status == TROUPE_END ? CRASH_LOSS : CRASH_CORRUPTION,
                      "next: %s", troupe_error_name(status));
        CRASH_REQUIRE(result.index < PAIR && told[result.index]++ == 0,
                      CRASH_DUPLICATE, "a second result of task %u",
                      (unsigned)result.index);
        if (result.status == -TROUPE_EWORKERLOST)
            lost++;
        else if (result.status != 0 || result.size != 1 ||
                 memcmp(result.data, &pair_values[result.index], 1) != 0)
            crash_fail(CRASH_CORRUPTION, "task %u: %s", (unsigned)result.index,
                       troupe_error_name(result.status));
    }
    if (lost > 1)
        crash_fail(CRASH_LOSS, "one death took %u tasks", lost);
    end_stream();
}

SCENARIO(pool_claim) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "the worker goes on to a second task, until it sleeps",
    .covers = COVERS(FUNCTION(troupe_task_return), FUNCTION(troupe_task_item),
                     FUNCTION(troupe_task_size)),
    .setup = setup_stepped,
    .adopt = adopt_of_two,
    .blocks = true,
    .check = check_of_two,
};

/* ---- a worker in a map, from its first task to its next sleep ---- */

static pthread_t mapper;
static int map_status, map_results[ITEMS];

static int
square_stepped(const void *item, void *result, void *context)
{
    /* The worker that takes the dead one's place is not stepped. */
    if (atomic_exchange(crash_word(WORD_STEPPED), 1) == 0)
        crash_step_begin();
    return square(item, result, context);
}

/* Waits for the map while the stage drives the worker. */
static void *
map_main(void *arg)
{
    static const int items[ITEMS] = {0, 1, 2, 3, 4, 5};

    map_status = troupe_pool_map(
        pool, square_stepped, items, ITEMS, sizeof(int), map_results,
        sizeof(int), TROUPE_OPTIONS(troupe_map_options, .retries = 1),
        PATIENCE);
    return arg;
}

static int
adopt_mapping(void)
{
    pid_t pid = await_worker();

    CRASH_REQUIRE(pthread_create(&mapper, NULL, map_main, NULL) == 0,
                  CRASH_CORRUPTION, "no thread");
    return pid;
}

/* With one retry nobody sees of the death anything. */
static void
check_mapped(void)
{
    int i;

    CRASH_REQUIRE(pthread_join(mapper, NULL) == 0, CRASH_CORRUPTION, "join");
    if (map_status != 0)
        crash_fail(CRASH_CORRUPTION, "a map with retries: %s",
                   troupe_error_name(map_status));
    for (i = 0; i < ITEMS; i++)
        if (map_results[i] != i * i)
            crash_fail(CRASH_CORRUPTION, "the square of %d: %d", i,
                       map_results[i]);
    end_pool();
}

SCENARIO(pool_map_worker) = {
    .operation = "troupe_pool_map",
    .state = "the worker dies, from its first task on",
    .setup = setup_stepped,
    .adopt = adopt_mapping,
    .blocks = true,
    .check = check_mapped,
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
