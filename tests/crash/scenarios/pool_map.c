/* SPDX-License-Identifier: Apache-2.0 */
/* Maps: each task ends once, whoever dies. */
#include "pool_common.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the victim is the creator ---- */

static void
victim_map(void)
{
    victim_says(map_squares(pool));
}

SCENARIO(pool_map) = {
    .function = {FUNCTION(troupe_pool_map)},
    .state = "six tasks, one worker",
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_map,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the creator dies while it settles a worker's death ---- */

static void
victim_map_dead(void)
{
    int status = map_squares(pool);

    if (status == 0)
        status = count_deaths(1, 0);
    victim_says(status);
}

SCENARIO(map_dead) = {
    .function = {FUNCTION(troupe_pool_map)},
    .state = "the worker has died idle, and is replaced",
    .setup = setup_past,
    .prepare = prepare_dead,
    .victim = victim_map_dead,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

enum { FEW = 6 };

static int few_results[FEW], few_statuses[FEW];
static troupe_map_report few_report = {.size = sizeof(few_report)};

static int
map_few(troupe_map_function *function, troupe_pool_progress *progress,
        uint32_t retries, troupe_deadline deadline)
{
    int items[FEW], i;

    for (i = 0; i < FEW; i++)
        items[i] = few_results[i] = i + 1;
    return troupe_pool_map(
        pool, function, items, FEW, sizeof(int), few_results, sizeof(int),
        TROUPE_OPTIONS(troupe_map_options, .statuses = few_statuses,
                       .report = &few_report, .progress = progress,
                       .retries = retries),
        deadline);
}

static int
square_dying(const void *item, void *result, void *context)
{
    if (atomic_exchange(crash_word(WORD_STEPPED), 1) == 0)
        (void)raise(SIGKILL);
    return square(item, result, context);
}

static void
victim_map_dying(void)
{
    int status = map_few(square_dying, NULL, 1, TROUPE_FOREVER), i;

    for (i = 0; status == 0 && i < FEW; i++)
        if (few_results[i] != (i + 1) * (i + 1))
            status = -EPROTO;
    if (status == 0 &&
        (few_report.values != FEW || few_report.retried != 1 ||
         few_report.workers_lost != 1 || few_report.lost_pid != 0))
        status = -EPROTO;
    if (status == 0)
        status = count_deaths(1, 1);
    victim_says(status);
}

SCENARIO(map_dying) = {
    .function = {FUNCTION(troupe_pool_map)},
    .state = "the worker dies in a task, which is begun again",
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_map_dying,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the creator dies while it gives up ---- */

static int
square_sleeping(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    if (atomic_fetch_add(crash_word(WORD_COMERS), 1) == 1)
        crash_gate_open(GATE_IN_TASK);
    for (;;)
        pause();
    return 0;
}

/* Told at the beginning: the deadline is looked at when both have a task. */
static void
await_in_task(uint64_t done, uint64_t total, void *arg)
{
    (void)done;
    (void)total;
    (void)arg;
    crash_gate_wait(GATE_IN_TASK);
}

static void
victim_give_up(void)
{
    int status = map_few(square_sleeping, await_in_task, 0, TROUPE_NOW), i;

    status = status == -ETIMEDOUT ? 0 : -EPROTO;
    for (i = 0; i < FEW; i++)
        if (few_results[i] != 0 || few_statuses[i] != -ECANCELED)
            status = -EPROTO;
    if (few_report.cancelled != FEW || few_report.workers_lost != 0)
        status = -EPROTO;
    if (status == 0)
        status = count_deaths(0, 0);
    /* There are others in the places of those who were killed. */
    if (status == 0)
        status = map_squares(pool);
    victim_says(status);
}

SCENARIO(map_given_up) = {
    .function = {FUNCTION(troupe_pool_map)},
    .state = "two workers sleep in their tasks, the deadline passes",
    .setup = setup_past,
    .prepare = prepare_pair,
    .victim = victim_give_up,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the victim is a worker, from its first task to its next sleep ---- */

enum { TASKS = 12 };

static unsigned map_retries;
static pthread_t mapper;
static int map_status, map_results[TASKS], map_statuses[TASKS];
static troupe_map_report map_report = {.size = sizeof(map_report)};

static troupe_map_function *map_function;

/* As the how manyth worker does this one come to the map? Told once, from 0. */
static int64_t
comes(void)
{
    static bool came;

    if (came)
        return -1;
    came = true;
    return atomic_fetch_add(crash_word(WORD_COMERS), 1);
}

static void
step_from_here(void)
{
    atomic_store(crash_word(WORD_WORKER), getpid());
    crash_step_begin();
}

static int
square_counted(const void *item, void *result, void *context)
{
    int value;

    memcpy(&value, item, sizeof(value));
    atomic_fetch_add(crash_word(WORD_BEGUN + (unsigned)value), 1);
    return square(item, result, context);
}

/* The worker that takes the dead one's place is not stepped. */
static int
square_stepped(const void *item, void *result, void *context)
{
    if (comes() == 0)
        step_from_here();
    return square_counted(item, result, context);
}

/* The first to come stands in its first task, with a range behind it, from
 * which the second steals. */
static int
square_stealing(const void *item, void *result, void *context)
{
    switch (comes()) {
    case 0:
        crash_gate_open(GATE_IN_TASK);
        crash_gate_wait(GATE_LEAVE_TASK);
        break;
    case 1:
        step_from_here();
        break;
    default:
        break;
    }
    return square_counted(item, result, context);
}

/* Waits for the map while the stage drives the worker. */
static void *
map_main(void *arg)
{
    int items[TASKS], i;

    for (i = 0; i < TASKS; i++)
        items[i] = i;
    map_status = troupe_pool_map(
        pool, map_function, items, TASKS, sizeof(int), map_results, sizeof(int),
        TROUPE_OPTIONS(troupe_map_options, .retries = map_retries,
                       .statuses = map_statuses, .report = &map_report),
        PATIENCE);
    return arg;
}

static void
start_map(troupe_map_function *function)
{
    map_function = function;
    CRASH_REQUIRE(pthread_create(&mapper, NULL, map_main, NULL) == 0,
                  CRASH_CORRUPTION, "no thread");
}

static pid_t
await_stepped(void)
{
    pid_t pid;

    while ((pid = (pid_t)atomic_load(crash_word(WORD_WORKER))) == 0)
        sched_yield();
    return pid;
}

static int
adopt_mapping(void)
{
    start_map(square_stepped);
    return await_stepped();
}

static int
adopt_retried(void)
{
    map_retries = 1;
    return adopt_mapping();
}

/* Which of the two comes first is not left to chance, and neither is what it
 * claims. */
static int
adopt_stealing(void)
{
    pid_t second = await_worker(1);

    map_retries = 1;
    CRASH_REQUIRE(kill(second, SIGSTOP) == 0 &&
                      waitpid(second, NULL, WUNTRACED) == second,
                  CRASH_CORRUPTION, "a worker cannot be stopped");
    start_map(square_stealing);
    crash_gate_wait(GATE_IN_TASK);
    CRASH_REQUIRE(kill(second, SIGCONT) == 0, CRASH_CORRUPTION,
                  "a worker cannot be continued");
    return await_stepped();
}

/*
 * Each task yields its value, or is the lost one; those begun anew are no more
 * than are told.  Returns how many are lost.
 */
static unsigned
check_tasks(void)
{
    unsigned lost = 0, again = 0, i;

    for (i = 0; i < TASKS; i++) {
        int64_t begun = atomic_load(crash_word(WORD_BEGUN + i));
        bool gone = map_statuses[i] == -TROUPE_EWORKERLOST;

        if (!gone && (map_statuses[i] != 0 || begun == 0 ||
                      map_results[i] != (int)(i * i)))
            crash_fail(CRASH_CORRUPTION, "task %u: %s, %d", i,
                       troupe_error_name(map_statuses[i]), map_results[i]);
        if (gone && map_results[i] != 0)
            crash_fail(CRASH_CORRUPTION, "half a result of task %u", i);
        if (gone && (map_report.first != i ||
                     map_report.first_status != map_statuses[i]))
            crash_fail(CRASH_CORRUPTION, "the report of task %u", i);
        lost += gone;
        again += begun > 1 ? (unsigned)begun - 1 : 0;
    }
    if (lost > (map_retries == 0))
        crash_fail(CRASH_LOSS, "one death took %u tasks", lost);
    if (again > map_report.retried || map_report.retried > map_retries)
        crash_fail(CRASH_DUPLICATE, "begun anew: %u, told: %u", again,
                   (unsigned)map_report.retried);
    return lost;
}

/* Exactly the task that the dead worker was in is lost, or begun again. */
static void
check_mapped(void)
{
    unsigned lost;
    uint64_t ended;

    crash_gate_open(GATE_LEAVE_TASK);
    CRASH_REQUIRE(pthread_join(mapper, NULL) == 0, CRASH_CORRUPTION, "join");
    lost = check_tasks();
    if (map_status != (lost != 0 ? TROUPE_TASKS_FAILED : 0) ||
        map_report.values != TASKS - lost || map_report.lost != lost ||
        map_report.errors != 0 || map_report.cancelled != 0 ||
        (lost == 0 &&
         (map_report.first != UINT64_MAX || map_report.lost_pid != 0)))
        crash_fail(CRASH_CORRUPTION, "the report of the map");
    if (lost != 0)
        check_killer((pid_t)atomic_load(crash_word(WORD_WORKER)),
                     map_report.lost_pid, map_report.lost_signal);
    /* The one count that the victim may have died with is that of the task that
     * it had ended last; a task that was counted cannot be lost. */
    ended = figures().tasks_ended;
    if (ended + lost > TASKS || ended + lost + 1 < TASKS)
        crash_fail(CRASH_DUPLICATE, "of %u tasks %u ended and %u lost",
                   (unsigned)TASKS, (unsigned)ended, lost);
    /* The next map finds the death, at the latest. */
    CRASH_REQUIRE(map_squares(pool) == 0, CRASH_CORRUPTION, "the next map");
    check_figures(lost + map_report.retried);
    end_pool();
}

SCENARIO(map_worker) = {
    .operation = "troupe_pool_map",
    .state = "the worker dies, no retries",
    .setup = setup_pool,
    .adopt = adopt_mapping,
    .blocks = true,
    .check = check_mapped,
};

SCENARIO(map_worker_retried) = {
    .operation = "troupe_pool_map",
    .state = "the worker dies, one retry",
    .setup = setup_pool,
    .adopt = adopt_retried,
    .blocks = true,
    .check = check_mapped,
};

SCENARIO(map_worker_stealing) = {
    .operation = "troupe_pool_map",
    .state = "a worker dies stealing from another, one retry",
    .setup = setup_pair,
    .adopt = adopt_stealing,
    .blocks = true,
    .check = check_mapped,
};
