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

/* ---- the victim is a worker, from its first task to its next sleep ---- */

enum { TASKS = 12 };

static unsigned map_retries;
static pthread_t mapper;
static int map_status, map_results[TASKS], map_statuses[TASKS];
static troupe_map_report map_report = {.size = sizeof(map_report)};

static int
square_stepped(const void *item, void *result, void *context)
{
    static bool came;
    int value;

    memcpy(&value, item, sizeof(value));
    /* The worker that takes the dead one's place is not stepped. */
    if (!came && atomic_fetch_add(crash_word(WORD_COMERS), 1) == 0) {
        atomic_store(crash_word(WORD_WORKER), getpid());
        crash_step_begin();
    }
    came = true;
    atomic_fetch_add(crash_word(WORD_BEGUN + (unsigned)value), 1);
    return square(item, result, context);
}

/* Waits for the map while the stage drives the worker. */
static void *
map_main(void *arg)
{
    int items[TASKS], i;

    for (i = 0; i < TASKS; i++)
        items[i] = i;
    map_status = troupe_pool_map(
        pool, square_stepped, items, TASKS, sizeof(int), map_results,
        sizeof(int),
        TROUPE_OPTIONS(troupe_map_options, .retries = map_retries,
                       .statuses = map_statuses, .report = &map_report),
        PATIENCE);
    return arg;
}

static int
adopt_mapping(void)
{
    pid_t pid;

    CRASH_REQUIRE(pthread_create(&mapper, NULL, map_main, NULL) == 0,
                  CRASH_CORRUPTION, "no thread");
    while ((pid = (pid_t)atomic_load(crash_word(WORD_WORKER))) == 0)
        sched_yield();
    return pid;
}

static int
adopt_retried(void)
{
    map_retries = 1;
    return adopt_mapping();
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
