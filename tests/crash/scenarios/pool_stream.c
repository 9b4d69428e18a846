/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of tasks: each is told once, whoever dies. */
#include "pool_common.h"

#include <errno.h>
#include <signal.h>

/* Values of another class than the items, so that none passes for the other:
 * one in a block, one in the slot. */
enum { VALUE = 600, SMALL = 4 };

/* ---- the victim is the creator ---- */

static bool
is_part(const troupe_result *result, size_t size, uint32_t attempts)
{
    return result->status == 0 && result->size == size &&
           result->attempts == attempts && result->pid != 0 &&
           has_pattern(result->data, size, pattern_of(result->index));
}

/* Takes the value, and frees it. */
static int
take(void)
{
    void *data = NULL;
    int status;

    atomic_store(crash_word(WORD_TAKING), 1);
    status = troupe_imap_take(stream, &data);
    if (status == 0)
        status = troupe_free(data);
    atomic_store(crash_word(WORD_TAKING), 0);
    return status;
}

static void
take_one(size_t size)
{
    struct feed feed = {.count = 1, .size = COUNTED_SIZE};
    troupe_result result;
    int status;

    start_stream(task_part, &feed, size, 0, 0);
    status = troupe_imap_next(stream, &result, TROUPE_FOREVER);
    if (status == 0 && !is_part(&result, size, 1))
        status = -EPROTO;
    if (status == 0)
        status = take();
    if (status == 0)
        status = troupe_imap_free(stream);
    victim_says(status);
}

static void
victim_take_small(void)
{
    take_one(SMALL);
}

static void
check_taken_small(void)
{
    check_hands(atomic_load(crash_word(WORD_TAKING)) != 0);
}

SCENARIO(stream_small) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "one task, a value in its slot, taken, freed",
    .covers = COVERS(FUNCTION(troupe_pool_imap_unordered),
                     FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_take),
                     FUNCTION(troupe_imap_free)),
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_take_small,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_taken_small,
};

static void
victim_take_large(void)
{
    take_one(VALUE);
}

static void
check_taken_large(void)
{
    check_alone();
    if (atomic_load(crash_word(WORD_TAKING)) != 0)
        (void)free_victims_block(VALUE);
    check_status();
}

SCENARIO(stream_large) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "one task, a value in a block, taken, freed",
    .covers = COVERS(FUNCTION(troupe_pool_imap_unordered),
                     FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_take),
                     FUNCTION(troupe_imap_free)),
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_take_large,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_taken_large,
};

/* More items than the window has slots, which are used again. */
static void
victim_window(void)
{
    struct feed feed = {.count = 5, .size = COUNTED_SIZE};
    troupe_result result;
    unsigned told = 0;
    int status;

    start_stream(task_part, &feed, VALUE, 0, 2);
    while ((status = troupe_imap_next(stream, &result, TROUPE_FOREVER)) == 0 &&
           is_part(&result, VALUE, 1))
        told |= 1u << result.index;
    status = status == TROUPE_END && told == 0x1f ? 0 : -EPROTO;
    if (status == 0)
        status = troupe_imap_free(stream);
    victim_says(status);
}

SCENARIO(stream_window) = {
    .operation = "troupe_imap_next",
    .state = "the window is full, there are more items",
    .covers = COVERS(FUNCTION(troupe_pool_imap_unordered),
                     FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_free)),
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_window,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the creator dies while it settles a worker's death ---- */

static int
task_dying(troupe_task *task, void *context)
{
    if (atomic_exchange(crash_word(WORD_STEPPED), 1) == 0)
        (void)raise(SIGKILL);
    return task_part(task, context);
}

static void
victim_next_dying(void)
{
    struct feed feed = {.count = 1, .size = COUNTED_SIZE};
    troupe_result result;
    int status;

    start_stream(task_dying, &feed, VALUE, 1, 0);
    status = troupe_imap_next(stream, &result, TROUPE_FOREVER);
    if (status == 0 && !is_part(&result, VALUE, 2))
        status = -EPROTO;
    if (status == 0)
        status = count_deaths(1, 1);
    if (status == 0)
        status = troupe_imap_free(stream);
    victim_says(status);
}

SCENARIO(stream_dying) = {
    .operation = "troupe_imap_next",
    .state = "the worker dies in the task, which is begun again",
    .covers = COVERS(FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_free)),
    .setup = setup_past,
    .prepare = prepare_pool,
    .victim = victim_next_dying,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the creator dies while it gives up ---- */

static void
victim_free_busy(void)
{
    int status = troupe_imap_free(stream);

    /* There is another in the place of the worker that was killed. */
    if (status == 0)
        status = map_squares(pool);
    if (status == 0)
        status = count_deaths(0, 0);
    victim_says(status);
}

SCENARIO(stream_free_busy) = {
    .function = {FUNCTION(troupe_imap_free)},
    .state = "a worker sleeps in a task, others are ready",
    .setup = setup_past,
    .prepare = prepare_busy,
    .victim = victim_free_busy,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* All are told as cancelled; one of them was begun. */
static int
next_cancelled(void)
{
    troupe_result result;
    unsigned told = 0, begun = 0;
    int status;

    while ((status = troupe_imap_next(stream, &result, TROUPE_FOREVER)) == 0 &&
           result.status == -ECANCELED) {
        told |= 1u << result.index;
        begun += result.attempts;
    }
    return status == TROUPE_END && told == 7 && begun == 1 ? 0 : -EPROTO;
}

static void
victim_terminate_busy(void)
{
    int status = troupe_pool_terminate(pool);

    if (status == 0)
        status = next_cancelled();
    if (status == 0)
        status = troupe_imap_free(stream);
    if (status == 0)
        status = count_deaths(0, 0);
    if (status == 0)
        status = troupe_pool_free(pool);
    victim_says(status);
}

SCENARIO(stream_terminated) = {
    .operation = "troupe_imap_next",
    .state = "the pool is terminated, a task runs, others are ready",
    .covers = COVERS(FUNCTION(troupe_pool_terminate),
                     FUNCTION(troupe_imap_next), FUNCTION(troupe_imap_free),
                     FUNCTION(troupe_pool_free)),
    .setup = setup_past,
    .prepare = prepare_busy,
    .victim = victim_terminate_busy,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* The iterator outlives its pool, and is only to be freed. */
static void
victim_free_open(void)
{
    troupe_result result;
    int status = troupe_pool_free(pool);

    if (status == 0 &&
        troupe_imap_next(stream, &result, TROUPE_FOREVER) != -EINVAL)
        status = -EPROTO;
    if (status == 0)
        status = troupe_imap_free(stream);
    if (status == 0)
        status = no_child();
    victim_says(status);
}

SCENARIO(stream_free_open) = {
    .operation = "troupe_pool_free",
    .state = "a stream is open, a worker sleeps in its task",
    .covers = COVERS(FUNCTION(troupe_pool_free), FUNCTION(troupe_imap_next),
                     FUNCTION(troupe_imap_free)),
    .setup = setup_past,
    .prepare = prepare_busy,
    .victim = victim_free_open,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* ---- the victim is a worker ---- */

static struct feed feed = {.count = 1, .size = COUNTED_SIZE};
static size_t value_size = COUNTED_SIZE;
static uint32_t retries, window;
static pid_t worker;

/* What has been told of the stream. */
static struct {
    bool told[2];
    unsigned lost;
    unsigned again;
} seen;

static int
adopt_with(troupe_task_function *task)
{
    worker = await_worker(0);
    start_stream(task, &feed, value_size, retries, window);
    crash_gate_open(GATE_ALL_READY);
    return worker;
}

/* Who tells that the first `ended` tasks had ended when the worker died? */
static void
check_result(const troupe_result *result, uint64_t ended)
{
    unsigned index = (unsigned)result->index;

    CRASH_REQUIRE(index < feed.count && !seen.told[index], CRASH_DUPLICATE,
                  "a second result of task %u", index);
    seen.told[index] = true;
    if (result->status == -TROUPE_EWORKERLOST) {
        seen.lost++;
        if (index < ended)
            crash_fail(CRASH_LOSS, "task %u had ended, and is lost", index);
        if (result->attempts != 1 + retries)
            crash_fail(CRASH_CORRUPTION, "lost at attempt %u",
                       result->attempts);
        check_killer(worker, result->pid, result->signal);
        return;
    }
    if (result->status != 0 || result->size != value_size ||
        !has_pattern(result->data, result->size, pattern_of(index)))
        crash_fail(CRASH_CORRUPTION, "task %u: %s, %zu bytes", index,
                   troupe_error_name(result->status), result->size);
    if (result->attempts != 1)
        seen.again++;
    if ((index < ended && result->pid != worker) ||
        (result->attempts != 1 && result->pid == worker) ||
        result->attempts > 1 + retries || result->pid == 0 ||
        result->signal != 0 || result->message[0] != '\0')
        crash_fail(CRASH_CORRUPTION,
                   "task %u by worker %d, not %d, at attempt %u, signal %d",
                   index, (int)result->pid, (int)worker, result->attempts,
                   (int)result->signal);
}

static void
next_result(uint64_t ended)
{
    troupe_result result;
    int status = troupe_imap_next(stream, &result, PATIENCE);

    CRASH_REQUIRE(status == 0,
                  status == TROUPE_END ? CRASH_LOSS : CRASH_CORRUPTION,
                  "next: %s", troupe_error_name(status));
    check_result(&result, ended);
    if (result.status == 0) {
        void *taken = NULL;

        CRASH_REQUIRE(
            troupe_imap_take(stream, &taken) == 0 &&
                has_pattern(taken, value_size, pattern_of(result.index)) &&
                troupe_free(taken) == 0,
            CRASH_CORRUPTION, "the value cannot be taken");
    }
}

/* Each task by its value or its loss, and exactly what one death may take: the
 * task that had begun and not ended. */
static void
check_stream(void)
{
    /* Nobody has looked for the dead yet. */
    uint64_t ended = figures().tasks_ended;
    troupe_result result;
    unsigned i;
    int status;

    for (i = 0; i < feed.count; i++)
        if (!seen.told[0] || !seen.told[feed.count - 1])
            next_result(ended);
    status = troupe_imap_next(stream, &result, PATIENCE);
    CRASH_REQUIRE(status == TROUPE_END, CRASH_DUPLICATE,
                  "another result of a task");
    CRASH_REQUIRE(troupe_imap_free(stream) == 0, CRASH_CORRUPTION, "free");
    if (seen.lost + seen.again > 1 || (retries != 0 && seen.lost != 0))
        crash_fail(CRASH_LOSS, "one death took %u tasks, %u were begun anew",
                   seen.lost, seen.again);
    CRASH_REQUIRE(map_squares(pool) == 0, CRASH_CORRUPTION, "the next map");
    check_figures(seen.lost + seen.again);
    end_pool();
}

/* ---- within its task ---- */

static int
task_work(troupe_task *task)
{
    static unsigned char value[VALUE];
    int status = -EPROTO;
    void *block;

    block = troupe_task_alloc(task, COUNTED_SIZE);
    if (block != NULL && troupe_task_size(task) == SMALL &&
        !troupe_task_cancelled(task) && troupe_task_index(task) == 0 &&
        troupe_task_attempt(task) == 1 &&
        has_pattern(troupe_task_item(task), SMALL, pattern_of(0)))
        status = troupe_task_return(task, value, sizeof(value));
    if (status == 0)
        status = troupe_task_fail(task, -EDOM, "%d", (int)EDOM);
    return status;
}

static int
task_stepped(troupe_task *task, void *context)
{
    int status;

    (void)context;
    crash_step_begin();
    status = task_work(task);
    atomic_store(crash_word(WORD_STATUS), status);
    crash_step_end();
    return 0;
}

static int
adopt_worker(void)
{
    feed.size = SMALL;
    return adopt_with(task_stepped);
}

/* That task is lost, with its reason; the next one runs in a new worker. */
static void
check_lost(void)
{
    int status = (int)atomic_load(crash_word(WORD_STATUS));

    if (crash_completed() && status != -EDOM)
        crash_fail(CRASH_CORRUPTION, "the task's calls: %s",
                   troupe_error_name(status));
    check_stream();
    if (seen.lost != 1)
        crash_fail(CRASH_CORRUPTION, "a task has ended that did not return");
}

SCENARIO(stream_task) = {
    .operation = "troupe_task_return",
    .state = "the worker dies in its task",
    .covers = COVERS(FUNCTION(troupe_task_alloc), FUNCTION(troupe_task_size),
                     FUNCTION(troupe_task_cancelled),
                     FUNCTION(troupe_task_index), FUNCTION(troupe_task_attempt),
                     FUNCTION(troupe_task_item), FUNCTION(troupe_task_return),
                     FUNCTION(troupe_task_fail)),
    .setup = setup_pool,
    .adopt = adopt_worker,
    .check = check_lost,
};

/* ---- from its task to its next sleep ---- */

/*
 * Stepped from its first task on; not the worker that takes the dead one's
 * place.  It waits until all items are ready, so that there are more to claim.
 */
static int
task_stepped_on(troupe_task *task, void *context)
{
    if (atomic_exchange(crash_word(WORD_STEPPED), 1) == 0) {
        crash_gate_wait(GATE_ALL_READY);
        crash_step_begin();
    }
    return task_part(task, context);
}

static int
adopt_committing(void)
{
    return adopt_with(task_stepped_on);
}

SCENARIO(stream_commit) = {
    .function = {FUNCTION(troupe_task_return)},
    .state = "a value in a block, the worker goes on until it sleeps",
    .setup = setup_pool,
    .adopt = adopt_committing,
    .blocks = true,
    .check = check_stream,
};

static int
adopt_retried(void)
{
    retries = 1;
    return adopt_with(task_stepped_on);
}

SCENARIO(stream_commit_retried) = {
    .function = {FUNCTION(troupe_task_return)},
    .state = "a value in a block, begun again if the worker dies",
    .setup = setup_pool,
    .adopt = adopt_retried,
    .blocks = true,
    .check = check_stream,
};

static int
adopt_of_two(void)
{
    feed.count = 2;
    feed.size = value_size = 1;
    return adopt_with(task_stepped_on);
}

SCENARIO(stream_claim) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "the worker goes on to a second task, until it sleeps",
    .covers = COVERS(FUNCTION(troupe_task_return), FUNCTION(troupe_task_item),
                     FUNCTION(troupe_task_size)),
    .setup = setup_pool,
    .adopt = adopt_of_two,
    .blocks = true,
    .check = check_stream,
};

/* The only slot is free again when the first result was given out: the second
 * item wakes the worker. */
static int
adopt_woken(void)
{
    window = 1;
    feed.count = 2;
    return adopt_with(task_stepped_on);
}

static bool
nudge_next(unsigned n)
{
    if (n == 0)
        next_result(1);
    return n == 0;
}

SCENARIO(stream_woken) = {
    .operation = "troupe_pool_imap_unordered",
    .state = "the worker sleeps, and is woken for a second task",
    .covers = COVERS(FUNCTION(troupe_task_return), FUNCTION(troupe_task_item),
                     FUNCTION(troupe_task_size)),
    .setup = setup_pool,
    .adopt = adopt_woken,
    .nudge = nudge_next,
    .blocks = true,
    .check = check_stream,
};
