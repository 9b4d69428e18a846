/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The creator's side of a map.
 */
#include "pool.h"

#include "heap/detail.h"
#include "heap/options.h"
#include "os/cancel.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(troupe_map_options) == 72, "no padding at the end");
_Static_assert(sizeof(troupe_map_report) == 72, "no padding at the end");

/* What the caller gave. */
struct request {
    troupe_map_function *function;
    const char *items;
    char *results;
    size_t count;
    size_t item_size;
    size_t result_size;
    troupe_map_options o;
};

/* Where copies of what is not in the heap stand behind the job. */
struct parts {
    size_t context;
    size_t items;
    size_t results;
    size_t total;
};

static int
request_check(const struct request *r)
{
    size_t bytes;

    if (r->function == NULL)
        return troupe__detail(-EINVAL, "the function is NULL");
    if (r->count > TROUPE_POOL_MAX_TASKS)
        return troupe__detail(-EINVAL, "%zu tasks", r->count);
    if ((r->items != NULL) != (r->item_size != 0))
        return troupe__detail(-EINVAL, "items without their size, or the size "
                                       "without items");
    if ((r->results != NULL) != (r->result_size != 0))
        return troupe__detail(-EINVAL, "results without their size, or the "
                                       "size without results");
    if (__builtin_mul_overflow(r->count, r->item_size, &bytes) ||
        __builtin_mul_overflow(r->count, r->result_size, &bytes))
        return troupe__detail(-EINVAL, "the sizes overflow");
    if (r->o.report != NULL && !troupe__info_valid(r->o.report))
        return troupe__detail(-EINVAL, "a report of size %zu",
                              r->o.report->size);
    if (r->o.context == NULL && r->o.context_size != 0)
        return troupe__detail(-EINVAL, "a size without its context");
    return troupe__pool_context_check(r->o.context, r->o.context_size);
}

/* Adds a part, aligned to 64. False: too large. */
static bool
part_add(size_t *total, size_t size, size_t *ret_at)
{
    *ret_at = *total;
    return !__builtin_add_overflow(*total, size, total) &&
           !__builtin_add_overflow(*total, (size_t)63, total) &&
           (*total &= ~(size_t)63, true);
}

static bool
is_inside(const void *array, size_t size)
{
    return array == NULL || troupe_heap_contains(array, size);
}

static bool
parts_plan(const struct request *r, const struct troupe__plan *plan,
           struct parts *p)
{
    size_t items = r->count * r->item_size;
    size_t results = r->count * r->result_size;
    size_t unused;

    p->total = 0;
    return part_add(&p->total, troupe__plan_size(plan), &unused) &&
           part_add(&p->total, r->o.context_size, &p->context) &&
           part_add(&p->total, is_inside(r->items, items) ? 0 : items,
                    &p->items) &&
           part_add(&p->total, is_inside(r->results, results) ? 0 : results,
                    &p->results);
}

/* Makes the job and enters it in the list and the table. Lock held. */
static int
begin(struct troupe__pool_control *control, struct troupe__thread *self,
      struct request *r, struct troupe__map *map)
{
    struct troupe__plan plan = {.kind = TROUPE__JOB_BULK,
                                .function = (uint64_t)(uintptr_t)r->function,
                                .context = (uint64_t)(uintptr_t)r->o.context,
                                .items = (uint64_t)(uintptr_t)r->items,
                                .results = (uint64_t)(uintptr_t)r->results,
                                .item_size = r->item_size,
                                .result_size = r->result_size,
                                .count = (uint32_t)r->count,
                                .cells = control->processes};
    size_t items = r->count * r->item_size;
    struct troupe__bulk *bulk;
    struct parts p;
    char *base;
    int status;

    if (control->state != TROUPE__POOL_OPEN)
        return troupe__detail(-ESHUTDOWN, "the pool is closed");
    if (!parts_plan(r, &plan, &p))
        return troupe__detail(-ENOMEM, "the arrays are too large to copy");
    status = troupe__pool_job_new(control, self, p.total,
                                  troupe__plan_size(&plan), &map->place, &bulk);
    if (status < 0)
        return status;
    base = (char *)bulk;
    if (r->o.context_size != 0) {
        memcpy(base + p.context, r->o.context, r->o.context_size);
        plan.context = (uint64_t)(uintptr_t)(base + p.context);
    }
    if (!is_inside(r->items, items)) {
        memcpy(base + p.items, r->items, items);
        plan.items = (uint64_t)(uintptr_t)(base + p.items);
    }
    if (!is_inside(r->results, r->count * r->result_size))
        plan.results = (uint64_t)(uintptr_t)(base + p.results);
    troupe__plan_write(&bulk->job, &plan);
    troupe__bulk_view(bulk, &plan, &map->view);
    map->retries = r->o.retries;
    map->lost_task = UINT32_MAX;
    map->next = control->maps;
    control->maps = map;
    troupe__pool_job_publish(control, map->place);
    return 0;
}

/* Settling. */

/* How often this task has now been interrupted; 0: no memory to count. */
static uint32_t
interrupted_count(struct troupe__map *map, uint32_t task)
{
    size_t i;

    for (i = 0; i < map->interrupted_count; i++)
        if (map->interrupted[i].task == task)
            return ++map->interrupted[i].times;
    if (map->interrupted_count == map->interrupted_room) {
        size_t room = map->interrupted_room * 2 + 16;
        struct troupe__interrupted *more =
            reallocarray(map->interrupted, room, sizeof(*more));

        if (more == NULL)
            return 0;
        map->interrupted = more;
        map->interrupted_room = room;
    }
    map->interrupted[map->interrupted_count].task = task;
    map->interrupted[map->interrupted_count++].times = 1;
    return 1;
}

/* Puts a task that a dead worker took back to the front of its range, from
 * where anybody steals it. */
static void
put_back(struct troupe__cell *cell, uint32_t task)
{
    uint64_t range = troupe__load_acquire(&cell->range);
    uint64_t back;

    do {
        uint32_t end = troupe__range_end(range);

        /* Thieves, the only others, change nothing but the end; and an empty
         * range ends where it begins or before. */
        back = troupe__range(task, end > task ? end : task + 1);
    } while (!troupe__cas_seq_cst(&cell->range, &range, back));
}

static void
state_end(struct troupe__map *map, uint32_t task, enum troupe__task_state end)
{
    uint8_t pending = TROUPE__TASK_PENDING;

    (void)troupe__cas_seq_cst(&map->view.states[task], &pending, (uint8_t)end);
}

/* `over`: what is pending will be cancelled. */
static void
interrupt(struct troupe__pool_control *control, struct troupe__map *map,
          struct troupe__cell *cell, uint32_t task, bool over,
          const struct troupe__casualty *dead)
{
    uint32_t times;

    troupe__store_relaxed(&control->pool->tasks_interrupted,
                          control->pool->tasks_interrupted + 1);
    times = map->retries == 0 ? 0 : interrupted_count(map, task);
    if (times != 0 && times <= map->retries) {
        if (over)
            return;
        map->retried++;
        put_back(cell, task);
        return;
    }
    if (task < map->lost_task) {
        map->lost_task = task;
        map->lost_pid = dead->pid;
        map->lost_signal = troupe__code_signal(dead->code);
    }
    state_end(map, task, TROUPE__TASK_LOST);
}

/* Whether a cell's `current` names a task that has not ended. */
static bool
is_pending(const struct troupe__map *map, uint64_t current)
{
    uint64_t task = (current >> 1) - 1;

    return current != 0 && task < map->view.plan.count &&
           troupe__load_acquire(&map->view.states[task]) ==
               TROUPE__TASK_PENDING;
}

void
troupe__map_settle(struct troupe__pool_control *control,
                   struct troupe__map *map, const struct troupe__casualty *dead)
{
    struct troupe__cell *cell = &map->view.bulk->cell[dead->index];
    uint64_t current = troupe__load_acquire(&cell->current);
    uint64_t task = (current >> 1) - 1;
    bool over = map->cancelled || control->state == TROUPE__POOL_TERMINATED;

    map->suspect = true;
    /* What we have killed a worker for is cancelled, not lost. */
    if (is_pending(map, current) && (dead->lost || !over)) {
        if (current & TROUPE__CURRENT_BEGUN)
            interrupt(control, map, cell, (uint32_t)task, over, dead);
        else if (!over && troupe__range_begin(
                              troupe__cell_range(&map->view, cell)) == task + 1)
            put_back(cell, (uint32_t)task); /* taken, not begun */
    }
    troupe__store_release(&cell->current, UINT64_C(0));
    if (cell->claims & 1)
        troupe__store_release(&cell->claims, cell->claims + 1);
}

/* Completion. */

static uint64_t
ended_count(void *arg)
{
    const struct troupe__map *map = arg;
    const struct troupe__plan *plan = &map->view.plan;
    uint64_t ended = 0;
    uint32_t i;

    /* Counts die with workers, the end does not. */
    if (map->finished)
        return plan->count;
    /* acquire: the results behind the count. */
    for (i = 0; i < plan->cells; i++)
        ended += troupe__load_acquire(&map->view.bulk->cell[i].ended);
    return ended < plan->count ? ended : plan->count;
}

/* Whether a worker has no task of the job, nor a claim on its way. */
static bool
cell_quiet(struct troupe__pool_control *control, const struct troupe__map *map,
           uint32_t index)
{
    struct troupe__cell *cell = &map->view.bulk->cell[index];

    /* In this order: `current` is set before the range is changed. */
    if (!troupe__range_empty(troupe__cell_range(&map->view, cell)))
        return false;
    /* A worker names the job before it does anything in it: what else may stand
     * in its cell was left there. */
    return !troupe__crew_is_at(control, index, map->view.bulk) ||
           (!is_pending(map, troupe__load_seq_cst(&cell->current)) &&
            (troupe__load_seq_cst(&cell->claims) & 1) == 0);
}

/* Whether nobody has anything of the job, nor can get it. A range moves from
 * cell to cell only with its receiver's count of claims: when those stand still
 * between two looks at all cells, nothing was missed. */
static bool
is_quiet(struct troupe__pool_control *control, const struct troupe__map *map)
{
    const struct troupe__bulk_view *view = &map->view;
    uint64_t claims[2] = {0, 0};
    unsigned look;
    uint32_t i;

    if ((uint32_t)troupe__load_seq_cst(&view->bulk->cursor) < view->plan.count)
        return false;
    for (look = 0; look < 2; look++) {
        for (i = 0; i < view->plan.cells; i++) {
            claims[look] += troupe__load_seq_cst(&view->bulk->cell[i].claims);
            if (!cell_quiet(control, map, i))
                return false;
        }
    }
    return claims[0] == claims[1];
}

static bool
any_pending(const struct troupe__map *map)
{
    return memchr(map->view.states, TROUPE__TASK_PENDING,
                  map->view.plan.count) != NULL;
}

/* Whether every task has yielded a value. */
static bool
all_values(const struct troupe__map *map)
{
    const uint8_t *states = map->view.states;
    size_t count = map->view.plan.count;

    /* All are as the first one, and that has. */
    return states[0] == TROUPE__TASK_VALUE &&
           memcmp(states, states + 1, count - 1) == 0;
}

struct waiting {
    struct troupe__pool_control *control;
    struct troupe__map *map;
};

/* Whether the call has nothing more to wait for. Lock held. */
static bool
is_done(void *arg)
{
    const struct waiting *waiting = arg;
    struct troupe__pool_control *control = waiting->control;
    struct troupe__map *map = waiting->map;
    struct troupe__bulk *bulk = map->view.bulk;
    uint64_t cursor;

    /* Workers do nothing for a plan that was overwritten. */
    if (!troupe__plan_stands(&bulk->job, &map->view.plan, map->cancelled)) {
        map->damaged = true;
        return true;
    }
    if (!map->suspect && ended_count(map) == map->view.plan.count &&
        !any_pending(map))
        return true;
    if (control->state == TROUPE__POOL_TERMINATED)
        return troupe__crew_gone(control);
    if (!is_quiet(control, map))
        return false;
    if (!any_pending(map))
        return true;
    /* Claims have died with workers, or what said who has them was overwritten.
     * Nobody has anything, so all that is pending can be offered once more. */
    map->suspect = true;
    cursor = troupe__load_relaxed(&bulk->cursor);
    troupe__store_seq_cst(&bulk->cursor, ((cursor >> 32) + 1) << 32);
    troupe__pool_offer(control->pool, UINT32_MAX);
    return false;
}

/* Giving up. */

static bool
has_task(struct troupe__pool_control *control, uint32_t index, const void *arg)
{
    const struct troupe__map *map = arg;
    const struct troupe__cell *cell = &map->view.bulk->cell[index];
    uint64_t current = troupe__load_seq_cst(&cell->current);

    (void)control;
    /* One that stands still inside a claim would go on with it later. */
    return (troupe__load_seq_cst(&cell->claims) & 1) != 0 ||
           is_pending(map, current);
}

/*
 * Ends a map before its time. First nobody gets a task any more: `cancelled`
 * stands before the cells are looked at, and a worker looks at it before and
 * after it moves a range. Then who has one is killed. What is pending after
 * that is with nobody.
 */
static void
cancel(struct troupe__pool_control *control, struct troupe__thread *self,
       struct troupe__map *map)
{
    struct troupe__bulk *bulk = map->view.bulk;
    uint32_t count = map->view.plan.count;
    uint64_t cursor = troupe__load_relaxed(&bulk->cursor);
    unsigned spins;
    uint32_t i;

    map->cancelled = true;
    (void)troupe__exchange_seq_cst(&bulk->job.cancelled, 1u);
    while (!troupe__cas_seq_cst(&bulk->cursor, &cursor,
                                (cursor & ~(uint64_t)UINT32_MAX) | count))
        ;
    for (i = 0; i < map->view.plan.cells; i++) {
        struct troupe__cell *cell = &bulk->cell[i];

        /* A few instructions, for one that runs. */
        for (spins = 0;
             spins < 1000 && (troupe__load_seq_cst(&cell->claims) & 1) != 0;
             spins++)
            troupe__cpu_relax();
        /* The exchange, which comes before or after the worker's taking: after
         * it, `current` names the task. */
        (void)troupe__exchange_seq_cst(&cell->range, UINT64_C(0));
    }
    troupe__crew_kill(control, self, has_task, map, bulk);
    troupe__crew_look(control, self);
    for (i = 0; i < count; i++)
        if (map->view.states[i] == TROUPE__TASK_PENDING)
            state_end(map, i, TROUPE__TASK_CANCELLED);
}

/* The tally. */

static int
status_of(const struct troupe__map *map, size_t task)
{
    int status;

    switch (troupe__load_acquire(&map->view.states[task])) {
    case TROUPE__TASK_VALUE:
        return 0;
    case TROUPE__TASK_ERROR:
        status = map->view.statuses[task];
        return status != 0 ? status : -EBADMSG;
    case TROUPE__TASK_LOST:
        return -TROUPE_EWORKERLOST;
    default:
        return -ECANCELED;
    }
}

static void
tally(struct troupe__map *map, bool clean, const struct request *r,
      troupe_map_report *report)
{
    const uint8_t *states = map->view.states;
    size_t i;

    memset(report, 0, sizeof(*report));
    report->size = sizeof(*report);
    report->first = UINT64_MAX;
    report->values = r->count;
    for (i = 0; !clean && i < r->count; i++) {
        if (states[i] == TROUPE__TASK_VALUE)
            continue;
        report->values--;
        switch (states[i]) {
        case TROUPE__TASK_ERROR:
            report->errors++;
            break;
        case TROUPE__TASK_LOST:
            report->lost++;
            break;
        default:
            report->cancelled++;
            break;
        }
        if (report->first == UINT64_MAX) {
            report->first = i;
            report->first_status = status_of(map, i);
        }
        if (r->results != NULL)
            memset((char *)(uintptr_t)map->view.plan.results +
                       i * r->result_size,
                   0, r->result_size);
    }
    report->retried = map->retried;
    report->workers_lost = map->workers_lost;
    report->lost_pid = map->lost_pid;
    report->lost_signal = map->lost_signal;
}

/* Hands the results over and takes the job back. Lock held. */
static void
end(struct troupe__pool_control *control, struct troupe__thread *self,
    struct request *r, struct troupe__map *map, troupe_map_report *report)
{
    const struct troupe__plan *plan = &map->view.plan;
    struct troupe__map **link;
    bool clean = all_values(map);
    size_t i;

    tally(map, clean, r, report);
    if (r->results != NULL && plan->results != (uint64_t)(uintptr_t)r->results)
        memcpy(r->results, (const void *)(uintptr_t)plan->results,
               r->count * r->result_size);
    for (i = 0; r->o.statuses != NULL && i < r->count; i++)
        r->o.statuses[i] = clean ? 0 : status_of(map, i);
    for (link = &control->maps; *link != map; link = &(*link)->next)
        ;
    *link = map->next;
    troupe__pool_job_end(control, self, map->place);
    free(map->interrupted);
}

static int
run(struct troupe__pool_control *control, struct troupe__thread *self,
    struct request *r, troupe_deadline deadline, troupe_map_report *report)
{
    struct troupe__map map = {.next = NULL};
    struct waiting waiting = {control, &map};
    struct troupe__ticker ticker = {.call = r->o.progress,
                                    .arg = r->o.progress_arg,
                                    .total = r->count,
                                    .count = ended_count,
                                    .count_arg = &map};
    int status;

    status = troupe__ticker_begin(&ticker, r->o.bar);
    if (status < 0)
        return status;
    (void)pthread_mutex_lock(&control->lock);
    status = begin(control, self, r, &map);
    (void)pthread_mutex_unlock(&control->lock);
    if (status < 0) {
        troupe__ticker_end(&ticker);
        return status;
    }
    troupe__pool_offer(control->pool, UINT32_MAX);
    status =
        troupe__crew_wait(control, self, deadline, &ticker, is_done, &waiting);
    (void)pthread_mutex_lock(&control->lock);
    map.finished =
        status == 0 && !map.damaged &&
        !(control->state == TROUPE__POOL_TERMINATED && any_pending(&map));
    if (!map.finished)
        cancel(control, self, &map);
    (void)pthread_mutex_unlock(&control->lock);
    (void)troupe__ticker_tick(&ticker, true);
    troupe__ticker_end(&ticker);
    (void)pthread_mutex_lock(&control->lock);
    end(control, self, r, &map, report);
    (void)pthread_mutex_unlock(&control->lock);
    if (status < 0)
        return status;
    if (map.damaged)
        return troupe__detail(-EBADMSG, "the job was overwritten");
    if (!map.finished)
        return troupe__detail(-ESHUTDOWN, "the pool was terminated");
    return report->values == r->count ? 0 : TROUPE_TASKS_FAILED;
}

int /* NOLINTNEXTLINE(readability-function-size): as Python's, and two arrays */
troupe_pool_map(troupe_pool *pool, troupe_map_function *function,
                const void *items, size_t count, size_t item_size,
                void *results, size_t result_size,
                const troupe_map_options *options, troupe_deadline deadline)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    troupe_map_report report = {.size = sizeof(report), .first = UINT64_MAX};
    struct troupe__thread *self;
    struct request r = {.function = function,
                        .items = items,
                        .results = results,
                        .count = count,
                        .item_size = item_size,
                        .result_size = result_size};
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    status = troupe__options_copy(&r.o, sizeof(r.o), options);
    if (status == 0)
        status = troupe__options_unknown(r.o.reserved_, sizeof(r.o.reserved_));
    if (status == 0)
        status = request_check(&r);
    if (status < 0)
        return status;
    if (troupe__load_acquire(&control->state) != TROUPE__POOL_OPEN)
        return troupe__detail(-ESHUTDOWN, "the pool is closed");
    if (count != 0)
        status = run(control, self, &r, deadline, &report);
    if (r.o.report != NULL)
        troupe__info_copy(r.o.report, &report, sizeof(report));
    return status;
}
