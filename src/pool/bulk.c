/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's side of a map: claim a range, run its tasks one by one, steal half
 * of another's range when there is nothing left to claim.
 */
#include "pool.h"

/* Looks that a worker out of work gives to others whose ranges are on their
 * way, before it goes to sleep. */
#define PATIENCE 256u

/* A worker takes this part of its fair share of what is left. */
#define SHARE 2u

/* Gives a range back to nobody: the creator finds out. */
static void
cell_empty(struct troupe__cell *cell)
{
    uint64_t range = troupe__load_relaxed(&cell->range);

    while (!troupe__range_empty(range))
        if (troupe__cas_seq_cst(&cell->range, &range, UINT64_C(0)))
            break;
}

/* Takes a range from the cursor. */
static bool
claim(const struct troupe__bulk_view *view, uint64_t *ret_range)
{
    struct troupe__bulk *bulk = view->bulk;
    uint64_t cursor = troupe__load_relaxed(&bulk->cursor);

    for (;;) {
        uint32_t next = (uint32_t)cursor;
        uint32_t left;
        uint32_t size;

        if (next >= view->plan.count)
            return false;
        left = view->plan.count - next;
        size = left / (SHARE * view->plan.cells);
        if (size == 0)
            size = 1;
        if (troupe__cas_seq_cst(&bulk->cursor, &cursor, cursor + size)) {
            *ret_range = troupe__range(next, next + size);
            return true;
        }
    }
}

/* Takes the upper half of the largest range there is, also of a dead worker's.
 * *ret_moving: some range is on its way, so a look later may find more. */
static bool
steal(const struct troupe__bulk_view *view, const struct troupe__cell *own,
      uint64_t *ret_range, bool *ret_moving)
{
    for (;;) {
        struct troupe__cell *victim = NULL;
        uint64_t range = 0;
        uint32_t most = 0;
        uint32_t middle;
        uint32_t i;

        *ret_moving = false;
        for (i = 0; i < view->plan.cells; i++) {
            struct troupe__cell *cell = &view->bulk->cell[i];
            uint64_t seen = troupe__cell_range(view, cell);

            if (cell != own && (troupe__load_relaxed(&cell->claims) & 1) != 0)
                *ret_moving = true;
            if (cell == own || troupe__range_empty(seen) ||
                troupe__range_end(seen) - troupe__range_begin(seen) <= most)
                continue;
            most = troupe__range_end(seen) - troupe__range_begin(seen);
            range = seen;
            victim = cell;
        }
        if (victim == NULL)
            return false;
        middle = troupe__range_begin(range) + most / 2;
        if (troupe__cas_seq_cst(
                &victim->range, &range,
                troupe__range(troupe__range_begin(range), middle))) {
            *ret_range = troupe__range(middle, middle + (most - most / 2));
            return true;
        }
    }
}

/* Fills the worker's empty cell. */
static bool
refill(troupe_pool *pool, const struct troupe__bulk_view *view,
       struct troupe__cell *cell, bool *ret_moving)
{
    struct troupe__job *job = &view->bulk->job;
    uint32_t claims = troupe__load_relaxed(&cell->claims) & ~1u;
    uint64_t range;
    bool found;

    *ret_moving = false;
    /* What `current` says refers to the range that is in the cell. */
    troupe__store_release(&cell->current, UINT64_C(0));
    /* seq_cst: the creator that gives the job up sets `cancelled` and then
     * looks for odd claims; we do it the other way round. */
    (void)troupe__exchange_seq_cst(&cell->claims, claims + 1);
    found = troupe__load_seq_cst(&job->cancelled) == 0 &&
            (claim(view, &range) || steal(view, cell, &range, ret_moving));
    if (found)
        troupe__store_release(&cell->range, range);
    (void)troupe__exchange_seq_cst(&cell->claims, claims + 2);
    if (!found)
        return false;
    if (troupe__load_seq_cst(&job->cancelled) != 0) {
        cell_empty(cell);
        return false;
    }
    /* Somebody may have looked while the range was on its way. */
    if (troupe__range_end(range) - troupe__range_begin(range) > 1)
        troupe__eventword_signal(&pool->work.event, 1);
    return true;
}

static void
run(struct troupe__pool_worker *worker, const struct troupe__bulk_view *view,
    struct troupe__cell *cell, uint32_t task)
{
    const struct troupe__plan *plan = &view->plan;
    troupe_map_function *function =
        (troupe_map_function *)(uintptr_t)plan->function;
    uint8_t *state = &view->states[task];
    uint8_t pending = TROUPE__TASK_PENDING;
    uint8_t end = TROUPE__TASK_VALUE;
    uint64_t number = task;
    const void *item = &number;
    void *result = NULL;
    int status;

    if (plan->items != 0)
        item = (const void *)(uintptr_t)(plan->items + task * plan->item_size);
    if (plan->results != 0)
        result = (void *)(uintptr_t)(plan->results + task * plan->result_size);
    /* In a second pass most have ended. */
    if (TROUPE__UNLIKELY(troupe__load_relaxed(state) != TROUPE__TASK_PENDING))
        return;
    troupe__store_release(&cell->current,
                          ((uint64_t)task + 1) << 1 | TROUPE__CURRENT_BEGUN);
    status = function(item, result, (void *)(uintptr_t)plan->context);
    if (TROUPE__UNLIKELY(status != 0)) {
        view->statuses[task] = status;
        end = TROUPE__TASK_ERROR;
    }
    /* The commit. release: who sees it sees result and status. */
    if (!troupe__cas_release(state, &pending, end))
        return;
    troupe__store_relaxed(&worker->ended, worker->ended + 1);
    /* release: who reads the count sees the results behind it. */
    troupe__store_release(&cell->ended, troupe__load_relaxed(&cell->ended) + 1);
}

bool
troupe__bulk_run(troupe_pool *pool, struct troupe__pool_worker *worker,
                 const struct troupe__bulk_view *view)
{
    uint64_t index = (uint64_t)(worker - pool->workers);
    struct troupe__cell *cell = &view->bulk->cell[index];
    struct troupe__turn turn = {.until = 0};
    unsigned patience = PATIENCE;
    bool any = false;
    bool moving;

    if (index >= view->plan.cells)
        return false;
    for (;;) {
        uint64_t range = troupe__load_relaxed(&cell->range);

        if (TROUPE__UNLIKELY(troupe__range_end(range) > view->plan.count))
            range = troupe__cell_range(view, cell);
        if (TROUPE__UNLIKELY(troupe__range_empty(range))) {
            if (refill(pool, view, cell, &moving))
                continue;
            if (!moving || --patience == 0)
                break;
            troupe__cpu_relax();
            continue;
        }
        if (troupe__turn_over(pool, &turn)) {
            /* The range stays where it is: for this worker when it comes back,
             * or for who has nothing to do. */
            troupe__pool_offer(pool, 1);
            /* After a swap that failed it names a task that is not ours. */
            troupe__store_release(&cell->current, UINT64_C(0));
            break;
        }
        if (TROUPE__UNLIKELY(!any)) {
            troupe__store_relaxed(&worker->busy, 1u);
            any = true;
        }
        /* Said before it is done: killed behind the swap, the creator knows
         * which task is in nobody's range. */
        troupe__store_release(&cell->current,
                              ((uint64_t)troupe__range_begin(range) + 1) << 1);
        if (troupe__cas_seq_cst(&cell->range, &range, range + 1))
            run(worker, view, cell, troupe__range_begin(range));
    }
    troupe__store_relaxed(&worker->busy, 0u);
    return any;
}

bool
troupe__bulk_waits(const struct troupe__bulk_view *view)
{
    struct troupe__bulk *bulk = view->bulk;
    uint32_t i;

    if (troupe__load_seq_cst(&bulk->job.cancelled) != 0)
        return false;
    if ((uint32_t)troupe__load_seq_cst(&bulk->cursor) < view->plan.count)
        return true;
    for (i = 0; i < view->plan.cells; i++)
        if (!troupe__range_empty(troupe__cell_range(view, &bulk->cell[i])))
            return true;
    return false;
}
