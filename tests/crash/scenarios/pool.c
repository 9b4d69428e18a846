/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a pool: when the creator dies making, closing, ending or freeing
 * it, nothing of it stays, nor a worker.
 */
#include "pool_common.h"

#include <troupe/progress.h>

#include <errno.h>
#include <unistd.h>

/* ---- making ---- */

static void
victim_new(void)
{
    troupe_pool *made = NULL;

    victim_says(troupe_pool_new(
        &made, TROUPE_OPTIONS(troupe_pool_options, .processes = 1)));
}

SCENARIO(pool_new) = {
    .function = {FUNCTION(troupe_pool_new)},
    .state = "one worker",
    .setup = setup_past,
    .prepare = join_family,
    .victim = victim_new,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
victim_new_two(void)
{
    troupe_pool *made = NULL;

    victim_says(troupe_pool_new(
        &made, TROUPE_OPTIONS(troupe_pool_options, .processes = 2)));
}

SCENARIO(pool_new_two) = {
    .function = {FUNCTION(troupe_pool_new)},
    .state = "two workers",
    .setup = setup_past,
    .prepare = join_family,
    .victim = victim_new_two,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- closing and joining ---- */

/* Closed and joined; nobody is left. */
static int
end_in_order(void)
{
    int status = troupe_pool_close(pool);

    if (status == 0)
        status = troupe_pool_join(pool, TROUPE_FOREVER);
    /* Who was joined has ended, and was reaped. */
    if (status == 0)
        status = no_child();
    return status;
}

static void
victim_end(void)
{
    troupe_pool_info info = {.size = sizeof(info)};
    troupe_pool_worker worker;
    size_t count = 0;
    int status = troupe_pool_info_get(pool, &info);

    if (status == 0 && (info.processes != 1 || info.alive != 1 ||
                        info.busy != 0 || info.workers_lost != 0 ||
                        info.tasks_ended != 0 || info.tasks_interrupted != 0))
        status = -EPROTO;
    if (status == 0)
        status = troupe_pool_workers(pool, &worker, 1, &count);
    if (status == 0 &&
        (count != 1 || worker.pid != atomic_load(crash_word(WORD_WORKER)) ||
         worker.busy || worker.tasks_ended != 0))
        status = -EPROTO;
    if (status == 0)
        status = end_in_order();
    if (status == 0)
        status = troupe_pool_free(pool);
    victim_says(status);
}

SCENARIO(pool_end) = {
    .operation = "troupe_pool_close",
    .state = "idle, joined, freed",
    .covers = COVERS(FUNCTION(troupe_pool_info_get),
                     FUNCTION(troupe_pool_workers), FUNCTION(troupe_pool_close),
                     FUNCTION(troupe_pool_join), FUNCTION(troupe_pool_free)),
    .setup = setup_past,
    .prepare = prepare_known,
    .victim = victim_end,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

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
    busy_feed.count = 1;
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
    /* until it is gone. */
    if (status == 0)
        status = end_in_order();
    if (status == 0)
        status = count_deaths(0, 0);
    if (status == 0)
        status = troupe_pool_free(pool);
    victim_says(status);
}

SCENARIO(pool_join_working) = {
    .operation = "troupe_pool_join",
    .state = "a worker is in its task, freed",
    .covers = COVERS(FUNCTION(troupe_pool_close), FUNCTION(troupe_pool_join),
                     FUNCTION(troupe_pool_free)),
    .setup = setup_past,
    .prepare = prepare_working,
    .victim = victim_join_working,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* The creator dies while it settles a worker's death. */
static void
victim_join_dead(void)
{
    int status = end_in_order();

    if (status == 0)
        status = count_deaths(1, 0);
    if (status == 0)
        status = troupe_pool_free(pool);
    victim_says(status);
}

SCENARIO(pool_join_dead) = {
    .operation = "troupe_pool_join",
    .state = "the worker has died idle, freed",
    .covers = COVERS(FUNCTION(troupe_pool_close), FUNCTION(troupe_pool_join),
                     FUNCTION(troupe_pool_free)),
    .setup = setup_past,
    .prepare = prepare_dead,
    .victim = victim_join_dead,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- terminating ---- */

static void
victim_terminate(void)
{
    int status = troupe_pool_terminate(pool);

    if (status == 0)
        status = troupe_pool_free(pool);
    if (status == 0)
        status = no_child();
    victim_says(status);
}

SCENARIO(pool_terminate_busy) = {
    .operation = "troupe_pool_terminate",
    .state = "a worker sleeps in its task, freed",
    .covers = COVERS(FUNCTION(troupe_pool_terminate),
                     FUNCTION(troupe_pool_free)),
    .setup = setup_past,
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
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_terminate,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- freeing ---- */

static void
victim_free(void)
{
    int status = troupe_pool_free(pool);

    /* It has ended the workers. */
    if (status == 0)
        status = no_child();
    victim_says(status);
}

/* The next pool leaves nothing either, while its creator lives on. */
static void
check_freed(void)
{
    check_status();
    pool = make_pool(1);
    end_pool();
}

SCENARIO(pool_free) = {
    .function = {FUNCTION(troupe_pool_free)},
    .state = "open, idle",
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_free,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_freed,
};

SCENARIO(pool_free_dead) = {
    .function = {FUNCTION(troupe_pool_free)},
    .state = "the worker has died idle",
    .setup = setup_past,
    .prepare = prepare_dead,
    .victim = victim_free,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_freed,
};

/* ---- the victim clears up ---- */

/* One task has ended, the next one is under way, the third is ready. */
static int
task_one_ends(troupe_task *task, void *context)
{
    return troupe_task_index(task) == 0 ? task_part(task, context)
                                        : task_sleeping(task, context);
}

static void
peer_dies_with_pool(void)
{
    prepare_in(task_one_ends);
    atomic_store(crash_word(WORD_CREATOR), getpid());
    atomic_store(crash_word(WORD_WORKER), await_worker(0));
    crash_ready();
}

static void
victim_settles(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    victim_says(troupe_heap_info_get(&info));
}

SCENARIO(pool_recovered) = {
    .operation = "troupe_pool_free",
    .state = "none; creator and worker are dead, and so is who clears up",
    .setup = setup_past,
    .peers = {peer_dies_with_pool},
    .prepare = await_family_dead,
    .victim = victim_settles,
    .survivors = {survive, survive},
    .check = check_status,
};

static void
prepare_joined(void)
{
    prepare_known();
    CRASH_REQUIRE(troupe_pool_close(pool) == 0 &&
                      troupe_pool_join(pool, TROUPE_FOREVER) == 0,
                  CRASH_CORRUPTION, "a pool that cannot be joined");
}

SCENARIO(pool_free_two) = {
    .function = {FUNCTION(troupe_pool_free)},
    .state = "joined, a second victim clears up too",
    .setup = setup_past,
    .prepare = prepare_joined,
    .victim = victim_free,
    .nudge = crash_sleeps_end,
    .second_prepare = await_family_dead,
    .second = second_settles,
    .survivors = {survive, NULL},
    .check = check_status,
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
