/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include "base/math.h"
#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/directory.h"
#include "heap/options.h"
#include "heap/slot.h"
#include "os/cancel.h"
#include "os/processors.h"
#include "process/exit.h"

#include <troupe/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(troupe_pool_options) == 32, "no padding at the end");
_Static_assert(sizeof(troupe_pool_info) == 40, "no padding at the end");

/* Of the finalizer that ends a pool when its creator exits: as Python's. */
#define EXIT_PRIORITY 15

/* The pools that this process has made; a fork child has copies, which their
 * member tells from its own. */
static struct troupe__pool_control *controls;
static pthread_mutex_t controls_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void
before_fork(void)
{
    (void)pthread_mutex_lock(&controls_lock);
}

static void
after_fork(void)
{
    (void)pthread_mutex_unlock(&controls_lock);
}

static void
set_up(void)
{
    once_error = pthread_atfork(before_fork, after_fork, after_fork);
}

bool
troupe__pool_is_creator(const struct troupe__pool_control *control,
                        const struct troupe__thread *self)
{
    return control->member.number == self->member &&
           control->member.generation == self->slot->member_generation;
}

troupe_pool *
troupe__pool_check(const void *address)
{
    return address == NULL ? NULL
                           : troupe__object_check(address, TROUPE__KIND_POOL);
}

struct troupe__pool_control *
troupe__pool_enter(const troupe_pool *pool, struct troupe__thread **ret_self,
                   int *ret_error)
{
    struct troupe__pool_control *control;

    troupe__detail_clear();
    *ret_self = troupe__thread_enter(ret_error);
    if (*ret_self == NULL)
        return NULL;
    *ret_error = -EINVAL;
    if (troupe__pool_check(pool) == NULL)
        return NULL;
    (void)pthread_mutex_lock(&controls_lock);
    for (control = controls; control != NULL; control = control->next)
        if (control->pool == pool &&
            troupe__pool_is_creator(control, *ret_self))
            break;
    (void)pthread_mutex_unlock(&controls_lock);
    if (control == NULL)
        *ret_error =
            troupe__detail(-EXDEV, "the pool was made by another process");
    return control;
}

static void
control_free(struct troupe__pool_control *control)
{
    struct troupe__pool_control **link;

    (void)pthread_mutex_lock(&controls_lock);
    for (link = &controls; *link != NULL; link = &(*link)->next) {
        if (*link == control) {
            *link = control->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&controls_lock);
    (void)pthread_mutex_destroy(&control->lock);
    free(control->crew);
    free(control);
}

static struct troupe__pool_control *
control_new(struct troupe__thread *self, const troupe_pool_options *o)
{
    struct troupe__pool_control *control = calloc(1, sizeof(*control));

    if (control == NULL)
        return NULL;
    control->crew = calloc(o->processes, sizeof(*control->crew));
    if (control->crew == NULL ||
        pthread_mutex_init(&control->lock, NULL) != 0) {
        free(control->crew);
        free(control);
        return NULL;
    }
    control->processes = o->processes;
    control->member.number = self->member;
    control->member.generation = self->slot->member_generation;
    (void)snprintf(control->name, sizeof(control->name), "%s",
                   o->name != NULL ? o->name : "PoolWorker");
    (void)pthread_mutex_lock(&controls_lock);
    control->next = controls;
    controls = control;
    (void)pthread_mutex_unlock(&controls_lock);
    return control;
}

static int
options_get(troupe_pool_options *o, const troupe_pool_options *given)
{
    int status = troupe__options_copy(o, sizeof(*o), given);

    if (status == 0)
        status = troupe__options_unknown(o->reserved_, sizeof(o->reserved_));
    if (status < 0)
        return status;
    if (o->processes > TROUPE_POOL_MAX_PROCESSES)
        return troupe__detail(-EINVAL, "%u processes", o->processes);
    if (o->processes == 0)
        o->processes = troupe__processors();
    if (o->processes > TROUPE_POOL_MAX_PROCESSES)
        o->processes = TROUPE_POOL_MAX_PROCESSES;
    return 0;
}

/* The object, for the whole family, without processes. */
static troupe_pool *
object_new(struct troupe__thread *self, const troupe_pool_options *o)
{
    size_t size =
        sizeof(troupe_pool) + o->processes * sizeof(struct troupe__pool_worker);
    troupe_pool *pool =
        troupe__object_new(self, TROUPE__KIND_POOL, size, size, o->name);

    if (pool == NULL)
        return NULL;
    pool->processes = o->processes;
    pool->member = self->member;
    pool->member_generation = self->slot->member_generation;
    return troupe__object_publish(self, pool) == 0 ? pool : NULL;
}

static void exit_call(void *arg);
static void destroy(struct troupe__pool_control *control,
                    struct troupe__thread *self);

/*
 * Frees what no process uses any more. Unless the exit of this process has
 * begun: then its finalizer may be at work with it in another thread, and what
 * is in the heap is freed when the process has ended.
 */
static void
control_end(struct troupe__pool_control *control, struct troupe__thread *self)
{
    if (troupe_finalizer_cancel(control->finalizer) < 0)
        return;
    destroy(control, self);
    control_free(control);
}

int
troupe_pool_new(troupe_pool **ret_pool, const troupe_pool_options *options)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    troupe_pool_options o;
    uint32_t i;
    int status;

    troupe__detail_clear();
    if (ret_pool == NULL)
        return troupe__detail(-EINVAL, "ret_pool is NULL");
    status = options_get(&o, options);
    if (status < 0)
        return status;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    if (pthread_once(&once, set_up) != 0 || once_error != 0)
        return troupe__detail(-ENOMEM, "handlers of fork");
    control = control_new(self, &o);
    if (control == NULL)
        return troupe__detail(-ENOMEM, "memory for a pool");
    control->pool = object_new(self, &o);
    if (control->pool == NULL) {
        control_free(control);
        return troupe__detail(-ENOMEM, "a pool of %u workers", o.processes);
    }
    for (i = 0; i < o.processes; i++) {
        control->crew[i].pool = control->pool;
        control->crew[i].worker = &control->pool->workers[i];
    }
    status = troupe__exit_add(exit_call, control, EXIT_PRIORITY,
                              &control->finalizer);
    if (status < 0) {
        destroy(control, self);
        control_free(control);
        return troupe__detail(status, status == -ESHUTDOWN
                                          ? "the process is exiting"
                                          : "memory for a pool");
    }
    (void)pthread_mutex_lock(&control->lock);
    status = troupe__crew_fill(control);
    (void)pthread_mutex_unlock(&control->lock);
    if (control->alive == 0) {
        control_end(control, self);
        return status;
    }
    troupe__detail_clear();
    *ret_pool = control->pool;
    return 0;
}

void
troupe__pool_offer(troupe_pool *pool, uint32_t count)
{
    (void)troupe__fetch_add_seq_cst(&pool->work.submitted, 1u);
    troupe__eventword_signal(&pool->work.event, count);
}

static void
state_raise(struct troupe__pool_control *control, enum troupe__pool_state state)
{
    troupe_pool *pool = control->pool;

    if (control->state < (uint32_t)state)
        troupe__store_release(&control->state, (uint32_t)state);
    troupe__store_seq_cst(&pool->state, control->state);
    troupe__pool_offer(pool, UINT32_MAX);
    troupe__eventword_signal(&pool->news.event, UINT32_MAX);
}

int
troupe_pool_close(troupe_pool *pool)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    troupe_log(TROUPE_LOG_DEBUG, "closing pool");
    (void)pthread_mutex_lock(&control->lock);
    state_raise(control, TROUPE__POOL_CLOSED);
    (void)pthread_mutex_unlock(&control->lock);
    return 0;
}

static void
terminate(struct troupe__pool_control *control)
{
    uint32_t i;

    state_raise(control, TROUPE__POOL_TERMINATED);
    for (i = 0; i < control->processes; i++) {
        if (control->crew[i].process == NULL)
            continue;
        control->crew[i].killed = true;
        (void)troupe_process_kill(control->crew[i].process);
    }
    /* Who waits for something else than a worker's death looks again. */
    troupe__eventword_signal(&control->pool->news.event, UINT32_MAX);
}

int
troupe_pool_terminate(troupe_pool *pool)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    troupe_log(TROUPE_LOG_DEBUG, "terminating pool");
    (void)pthread_mutex_lock(&control->lock);
    terminate(control);
    (void)pthread_mutex_unlock(&control->lock);
    return 0;
}

static bool
is_gone(void *arg)
{
    return troupe__crew_gone(arg);
}

int
troupe_pool_join(troupe_pool *pool, troupe_deadline deadline)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    troupe_log(TROUPE_LOG_DEBUG, "joining pool");
    if (troupe__load_acquire(&control->state) == TROUPE__POOL_OPEN)
        return troupe__detail(-EBUSY, "the pool is neither closed nor "
                                      "terminated");
    return troupe__crew_wait(control, self, deadline, NULL, is_gone, control);
}

/* Kills the workers and waits for their deaths: killed processes end. */
static void
crew_end(struct troupe__pool_control *control, struct troupe__thread *self)
{
    uint32_t stoppable = self->stoppable;
    int status;

    (void)pthread_mutex_lock(&control->lock);
    /* Also a pool without workers: the next look would start new ones. */
    terminate(control);
    (void)pthread_mutex_unlock(&control->lock);
    /* Nothing is half ended because of a stop. */
    self->stoppable = 0;
    do
        status = troupe__crew_wait(control, self, TROUPE_FOREVER, NULL, is_gone,
                                   control);
    while (status < 0);
    self->stoppable = stoppable;
}

/* The creator exits. Other threads may be waiting for work still: they are to
 * start no new workers in place of those that the exit ends. */
static void
exit_call(void *arg)
{
    TROUPE__UNCANCELLED;
    struct troupe__thread *self;
    int status;

    troupe_log(TROUPE_LOG_DEBUG, "finalizing pool");
    self = troupe__thread_enter(&status);
    if (self != NULL)
        crew_end(arg, self);
}

int
troupe_pool_free(troupe_pool *pool)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    troupe_imap *imap;
    int status;

    if (pool == NULL)
        return 0;
    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    crew_end(control, self);
    (void)pthread_mutex_lock(&control->lock);
    while ((imap = control->streams) != NULL) {
        control->streams = troupe__imap_next_of(imap);
        troupe__imap_orphan(imap);
    }
    (void)pthread_mutex_unlock(&control->lock);
    control_end(control, self);
    return 0;
}

/* Jobs. */

/* Whether some worker looks at a job. */
static bool
job_watched(const struct troupe__pool_control *control, const void *job)
{
    uint32_t i;

    for (i = 0; i < control->processes; i++)
        if (troupe__crew_is_at(control, i, job))
            return true;
    return false;
}

/* Frees a job, if there is one that the pool holds, and what it holds. */
static void
job_free(struct troupe__thread *self, troupe_pool *pool, uint32_t record)
{
    struct troupe__job *job = troupe__block_at(record);

    if (record == 0 || troupe__block_owner(job) != troupe__owner_held(pool))
        return;
    troupe__stream_empty(self, job);
    (void)troupe__block_free(self, job, troupe__owner_held(pool));
}

/* Frees ended jobs that nobody looks at any more. */
static void
jobs_sweep(struct troupe__pool_control *control, struct troupe__thread *self)
{
    unsigned i;

    for (i = 0; i < TROUPE__POOL_JOBS; i++) {
        struct troupe__pool_place *place = &control->places[i];

        if (place->record == 0 || place->offered ||
            job_watched(control, troupe__block_at(place->record)))
            continue;
        job_free(self, control->pool, place->record);
        place->record = 0;
        troupe__store_release(&control->pool->records[i], 0u);
    }
}

int
troupe__pool_job_new(struct troupe__pool_control *control,
                     struct troupe__thread *self, size_t size, size_t cleared,
                     unsigned *ret_place, void *ret_job)
{
    troupe_pool *pool = control->pool;
    struct troupe__job *job;
    unsigned place;

    jobs_sweep(control, self);
    for (place = 0; place < TROUPE__POOL_JOBS; place++)
        if (control->places[place].record == 0)
            break;
    if (place == TROUPE__POOL_JOBS)
        return troupe__detail(-EBUSY, "%u maps and iterators are in use",
                              TROUPE__POOL_JOBS);
    size = (size_t)troupe__round_up(size, 64);
    job = troupe__block_hold(self, size);
    if (job == NULL)
        return troupe__detail(-ENOMEM, "%zu bytes of the heap for the job",
                              size);
    /* Before it is the pool's: who frees it for a dead creator reads it, and
     * what it holds else may be an earlier job. */
    memset(job, 0, cleared);
    control->places[place].record = troupe__block_record(job);
    troupe__store_release(&pool->records[place], troupe__block_record(job));
    (void)troupe__block_pass(job, troupe__owner_held(self->slot),
                             troupe__owner_held(pool));
    *ret_place = place;
    memcpy(ret_job, &job, sizeof(void *));
    return 0;
}

/* What stands in a place of the job table. */
static uint64_t
place_offset(const struct troupe__pool_place *place)
{
    return place->offered
               ? troupe__family_offset(troupe__block_at(place->record))
               : 0;
}

void
troupe__pool_job_publish(struct troupe__pool_control *control, unsigned place)
{
    control->places[place].offered = true;
    /* seq_cst: pairs with job_hold() of the workers. */
    troupe__store_seq_cst(&control->pool->jobs[place],
                          place_offset(&control->places[place]));
    troupe__store_relaxed(&control->pool->offered, ++control->offered);
}

void
troupe__pool_job_end(struct troupe__pool_control *control,
                     struct troupe__thread *self, unsigned place)
{
    control->places[place].offered = false;
    (void)troupe__exchange_seq_cst(&control->pool->jobs[place], UINT64_C(0));
    troupe__store_relaxed(&control->pool->offered, --control->offered);
    jobs_sweep(control, self);
    if (control->state == TROUPE__POOL_CLOSED)
        troupe__pool_offer(control->pool, UINT32_MAX); /* it may be the end */
}

void
troupe__pool_restate(struct troupe__pool_control *control)
{
    troupe_pool *pool = control->pool;
    bool changed = false;
    uint32_t i;

    if (troupe__load_relaxed(&pool->state) != control->state ||
        troupe__load_relaxed(&pool->offered) != control->offered ||
        pool->processes != control->processes ||
        pool->member != control->member.number ||
        pool->member_generation != control->member.generation) {
        pool->processes = control->processes;
        pool->member = control->member.number;
        pool->member_generation = control->member.generation;
        troupe__store_relaxed(&pool->offered, control->offered);
        troupe__store_seq_cst(&pool->state, control->state);
        changed = true;
    }
    for (i = 0; i < TROUPE__POOL_JOBS; i++) {
        const struct troupe__pool_place *place = &control->places[i];

        if (troupe__load_relaxed(&pool->records[i]) == place->record &&
            troupe__load_relaxed(&pool->jobs[i]) == place_offset(place))
            continue;
        troupe__store_release(&pool->records[i], place->record);
        troupe__store_seq_cst(&pool->jobs[i], place_offset(place));
        changed = true;
    }
    /* Nobody is barred but under the lock, see troupe__crew_kill(). */
    for (i = 0; i < control->processes; i++) {
        if (troupe__load_relaxed(&control->crew[i].worker->barred) == 0)
            continue;
        troupe__store_seq_cst(&control->crew[i].worker->barred, 0u);
        changed = true;
    }
    if (!changed)
        return;
    troupe_log(TROUPE_LOG_WARNING, "the pool's memory was overwritten");
    troupe__pool_offer(pool, UINT32_MAX);
}

/* Frees what a pool without processes holds, and the pool. */
static void
destroy(struct troupe__pool_control *control, struct troupe__thread *self)
{
    troupe_pool *pool = control->pool;
    unsigned i;

    /* Without the lock, for there may be much: they are nobody else's as long
     * as this process lives. */
    for (i = 0; i < TROUPE__POOL_JOBS; i++) {
        pool->jobs[i] = 0;
        job_free(self, pool, control->places[i].record);
        pool->records[i] = 0;
    }
    /* Not to be had (its holder was stopped, perhaps in this very pool): the
     * rest goes with this process. */
    if (!troupe__directory_lock(self))
        return;
    troupe__object_free(self, pool);
    troupe__directory_unlock(self);
}

int
troupe__pool_context_check(const void *context, size_t context_size)
{
    if (context_size == 0 && context != NULL &&
        !troupe_heap_contains(context, 1))
        return troupe__detail(-EFAULT, "the context is not in the heap, and "
                                       "its size is not given");
    return 0;
}

/* Figures. */

/* How many places the worker table has, for who has no copy of the number; 0:
 * it was overwritten. */
static uint32_t
places(const troupe_pool *pool)
{
    uint32_t count = troupe__load_relaxed(&pool->processes);

    return count <= TROUPE_POOL_MAX_PROCESSES &&
                   sizeof(*pool) + count * sizeof(pool->workers[0]) <=
                       troupe__block_size(pool)
               ? count
               : 0;
}

int
troupe_pool_info_get(troupe_pool *pool, troupe_pool_info *info)
{
    troupe_pool_info found = {.size = sizeof(found)};
    uint32_t processes;
    uint32_t i;

    if (troupe__pool_check(pool) == NULL || !troupe__info_valid(info))
        return -EINVAL;
    processes = places(pool);
    if (processes == 0)
        return -EBADMSG;
    found.processes = processes;
    found.alive = troupe__load_relaxed(&pool->alive);
    found.workers_lost = troupe__load_relaxed(&pool->workers_lost);
    found.tasks_ended = troupe__load_relaxed(&pool->tasks_ended);
    found.tasks_interrupted = troupe__load_relaxed(&pool->tasks_interrupted);
    for (i = 0; i < processes; i++) {
        const struct troupe__pool_worker *w = &pool->workers[i];

        found.tasks_ended += troupe__load_relaxed(&w->ended);
        if (troupe__load_acquire(&w->tag) != 0 &&
            troupe__load_relaxed(&w->busy) != 0)
            found.busy++;
    }
    troupe__info_copy(info, &found, sizeof(found));
    return 0;
}

int
troupe_pool_workers(troupe_pool *pool, troupe_pool_worker *workers,
                    size_t count, size_t *ret_count)
{
    uint32_t processes;
    uint32_t i;

    if (troupe__pool_check(pool) == NULL || (workers == NULL && count != 0))
        return -EINVAL;
    processes = places(pool);
    if (processes == 0)
        return -EBADMSG;
    for (i = 0; i < processes && i < count; i++) {
        const struct troupe__pool_worker *w = &pool->workers[i];

        memset(&workers[i], 0, sizeof(workers[i]));
        if (troupe__load_acquire(&w->tag) == 0)
            continue;
        workers[i].pid = troupe__load_relaxed(&w->pid);
        workers[i].busy = troupe__load_relaxed(&w->busy) != 0;
        workers[i].tasks_ended = troupe__load_relaxed(&w->ended);
    }
    if (ret_count != NULL)
        *ret_count = processes;
    return 0;
}

/* Recovery: pools of dead creators. */

static bool
all_dead(const troupe_pool *pool)
{
    struct troupe__member_ref ref = {pool->member, pool->member_generation};
    uint32_t count = places(pool);
    uint32_t i;

    /* If it died in the start of a worker, that one may live unrecorded. */
    if (count == 0 || !troupe__member_dead(ref) ||
        (troupe__load_acquire(&pool->starting) != 0 &&
         troupe__member_has_children(ref)))
        return false;
    for (i = 0; i < count; i++) {
        ref.number = pool->workers[i].member;
        ref.generation = pool->workers[i].member_generation;
        if (ref.number != 0 && !troupe__member_dead(ref))
            return false;
    }
    return true;
}

static void
recover(void *object, void *arg)
{
    struct troupe__thread *self = arg;
    troupe_pool *pool = object;
    unsigned i;

    if (!all_dead(pool))
        return;
    for (i = 0; i < TROUPE__POOL_JOBS; i++)
        job_free(self, pool, troupe__load_relaxed(&pool->records[i]));
    troupe__object_free(self, pool);
}

/* The last of creator and workers to die takes the pool with it. */
static bool
member_died(uint32_t number, uint32_t generation)
{
    (void)number;
    (void)generation;
    troupe__directory_walk(TROUPE__KIND_POOL, recover, troupe__thread_self);
    return true;
}

__attribute__((constructor)) static void
pool_init(void)
{
    static const struct troupe__recovery recovery = {.member = member_died};

    troupe__recovery_add(&recovery);
}
