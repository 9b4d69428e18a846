/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the creator knows about its pool besides what lies in the heap, and what
 * the files of this folder ask of each other.
 */
#ifndef TROUPE_SRC_POOL_POOL_H
#define TROUPE_SRC_POOL_POOL_H

#include "pool_layout.h"

#include "base/atomic.h"
#include "heap/family.h"
#include "heap/member.h"

#include <troupe/pool.h>
#include <troupe/process.h>
#include <troupe/progress.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The process in one place of the worker table. */
struct troupe__crew {
    troupe_pool *pool;                  /* constant */
    struct troupe__pool_worker *worker; /* the place; constant */
    troupe_process *process;            /* NULL: none */
    pid_t pid;
    /* Of its thread, from when it was first seen in the table. */
    uint64_t tag;
    bool killed;      /* by us */
    bool dead_before; /* it was seen dead before we killed it */
    int64_t start_at; /* not before this */
};

/* One place of the job table: the record of the job's block, 0 when there is
 * none, and whether it is offered to the workers. */
struct troupe__pool_place {
    uint32_t record;
    bool offered;
};

/*
 * The creator's private record of a pool. Everything is under `lock`, which is
 * held while the dead are looked for and replaced, never while a thread waits
 * for work to end. Where it says the same as the heap it is the truth, and what
 * stands there is what the others are told.
 */
struct troupe__pool_control {
    struct troupe__pool_control *next; /* under the list's lock */
    troupe_pool *pool;
    struct troupe__member_ref member; /* of the creator; constant */
    uint64_t finalizer;               /* constant */
    uint32_t processes;               /* constant */

    pthread_mutex_t lock;
    char name[32];
    uint32_t state;   /* enum troupe__pool_state; read without the lock */
    uint32_t alive;   /* workers */
    uint32_t offered; /* jobs in the table */
    struct troupe__pool_place places[TROUPE__POOL_JOBS];
    struct troupe__crew *crew;
    uint64_t made;      /* workers, for their names */
    uint32_t useless;   /* deaths in a row before anything was done */
    bool dying;         /* a worker is dead, its process not yet gone */
    int64_t useless_at; /* the last of those deaths */
    /* Why there are no workers, and since when: no start has succeeded, or
     * those who were started died at once. 0: there are. */
    int start_error;
    int64_t failing_since;
    int64_t look_at; /* when to look again, whatever is heard */
    struct troupe__map *maps;
    troupe_imap *streams;
};

/* How often a task of a map was interrupted. */
struct troupe__interrupted {
    uint32_t task;
    uint32_t times;
};

/* A job as its creator sees it, and a worker during one turn: by a copy of the
 * plan. */
struct troupe__bulk_view {
    struct troupe__bulk *bulk;
    struct troupe__plan plan;
    uint8_t *states;
    int32_t *statuses;
};

struct troupe__stream_view {
    struct troupe__stream *stream;
    struct troupe__plan plan;
    uint32_t window;
    uint32_t words; /* of each bit map */
    uint64_t *ready;
    uint64_t *done;
    struct troupe__task_slot *slots;
};

/* A map that its caller waits for: on that thread's stack. */
struct troupe__map {
    struct troupe__map *next;
    struct troupe__bulk_view view;
    unsigned place; /* in the job table */
    uint32_t retries;
    /* A worker has died since the map began: the counters may be too low, and
     * tasks may be with nobody. */
    bool suspect;
    bool cancelled;
    bool damaged;  /* its plan was overwritten */
    bool finished; /* every task has ended */
    struct troupe__interrupted *interrupted;
    size_t interrupted_count;
    size_t interrupted_room;
    uint64_t retried;
    uint32_t workers_lost;
    uint32_t lost_task; /* the first one; UINT32_MAX: none */
    int32_t lost_pid;
    int32_t lost_signal;
};

struct troupe__ticker;

/* The pool, if `address` is one. */
troupe_pool *troupe__pool_check(const void *address);

/* The caller's control of a pool, joining the family; NULL: *ret_error. */
struct troupe__pool_control *
troupe__pool_enter(const troupe_pool *pool, struct troupe__thread **ret_self,
                   int *ret_error);

/* Whether the calling process is the one that made the control. */
bool troupe__pool_is_creator(const struct troupe__pool_control *control,
                             const struct troupe__thread *self);

/*
 * Allocates a job in a free place of the table, held by the pool, cleared up to
 * `cleared` bytes. Lock held. 0; -ENOMEM; -EBUSY: no place.
 */
int troupe__pool_job_new(struct troupe__pool_control *control,
                         struct troupe__thread *self, size_t size,
                         size_t cleared, unsigned *ret_place, void *ret_job);

/* Offers it to the workers. Lock held. */
void troupe__pool_job_publish(struct troupe__pool_control *control,
                              unsigned place);

/* Takes it from the workers; its memory is freed when the last of them has
 * turned away. Lock held. */
void troupe__pool_job_end(struct troupe__pool_control *control,
                          struct troupe__thread *self, unsigned place);

/* Wakes idle workers: there may be something for `count` of them. */
void troupe__pool_offer(troupe_pool *pool, uint32_t count);

/* What the creator has told the workers it tells them again, should a wild
 * store have changed it. Lock held. */
void troupe__pool_restate(struct troupe__pool_control *control);

/* Frees the blocks of all slots, if the job is a stream. */
void troupe__stream_empty(struct troupe__thread *self, struct troupe__job *job);

/* Copies a context into the job's memory or checks that it lies in the heap.
 * 0 or -EFAULT. */
int troupe__pool_context_check(const void *context, size_t context_size);

/* Crew: the processes. */

/* Starts all that are missing and due. Lock held. 0, or the error of the first
 * start that failed. */
int troupe__crew_fill(struct troupe__pool_control *control);

/* Looks for the dead, settles what they had, and fills their places. Lock
 * held. */
void troupe__crew_look(struct troupe__pool_control *control,
                       struct troupe__thread *self);

/*
 * Kills the workers chosen, by their index, for having a task of the job, waits
 * for their deaths and settles them; those that were not dead before do not
 * count as lost. Nobody else gets a task of the job any more, but the job still
 * stands in the table. A worker that turns to another job meanwhile is spared:
 * no other job minds. Lock held.
 */
void troupe__crew_kill(struct troupe__pool_control *control,
                       struct troupe__thread *self,
                       bool (*chosen)(struct troupe__pool_control *control,
                                      uint32_t index, const void *arg),
                       const void *arg, const void *job);

/* Whether a worker names the job as the one that it looks at. */
bool troupe__crew_is_at(const struct troupe__pool_control *control,
                        uint32_t index, const void *job);

/* The tag of the worker's thread in a place that has a process; 0: it has none
 * yet. Lock held. */
uint64_t troupe__crew_tag(struct troupe__pool_control *control, uint32_t index);

/* Whether a tag is that of a worker whose death has not been settled. Lock
 * held. */
bool troupe__crew_has(const struct troupe__pool_control *control, uint64_t tag);

/* Whether all processes have ended and were settled. Lock held. */
bool troupe__crew_gone(const struct troupe__pool_control *control);

/*
 * Waits until done() is true, looking after the crew meanwhile; done() is
 * called with the lock held. 0; -ETIMEDOUT; -ECANCELED; or why no worker can be
 * had.
 */
int troupe__crew_wait(struct troupe__pool_control *control,
                      struct troupe__thread *self, troupe_deadline deadline,
                      struct troupe__ticker *ticker, bool (*done)(void *arg),
                      void *arg);

/* A worker that is dead, process and all. */
struct troupe__casualty {
    uint64_t tag;   /* 0: it died before it had one */
    uint32_t index; /* of its place */
    int32_t pid;
    int code;  /* exit code */
    bool lost; /* of its own accord, or killed by others */
};

/* What is to be done about a job when a worker has died; a stream may also be
 * looked at when none has (NULL), for what else may be missing. Lock held. */
void troupe__map_settle(struct troupe__pool_control *control,
                        struct troupe__map *map,
                        const struct troupe__casualty *dead);
void troupe__stream_settle(struct troupe__pool_control *control,
                           troupe_imap *imap,
                           const struct troupe__casualty *dead);

/* pool_free: the iterator has no pool any more. Lock held. */
void troupe__imap_orphan(troupe_imap *imap);
troupe_imap *troupe__imap_next_of(troupe_imap *imap);

/* The signal of an exit code, 0 for none. */
static inline int32_t
troupe__code_signal(int code)
{
    return code < 0 ? -code : 0;
}

/* Progress of a call: a callback, a bar, or both. */
struct troupe__ticker {
    troupe_pool_progress *call;
    void *arg;
    troupe_progress *bar;
    uint64_t total;
    uint64_t (*count)(void *arg); /* how many have ended */
    void *count_arg;
    uint64_t told; /* last; UINT64_MAX: nothing yet */
    int64_t next;
};

/* With call, arg, total, count and count_arg filled in and the rest 0; the bar
 * with this label, or NULL. 0 or -ENOMEM. */
int troupe__ticker_begin(struct troupe__ticker *ticker, const char *bar);

/* Tells how far it is, when that is due; returns when it will be due again. No
 * lock held. */
int64_t troupe__ticker_tick(struct troupe__ticker *ticker, bool now);

void troupe__ticker_end(struct troupe__ticker *ticker);

/* In the workers. */

/* Target of a worker's process; the argument is its struct troupe__crew, in the
 * worker's copy of the creator's memory. */
int troupe__worker_main(void *crew);

/*
 * A worker's turn at a job, zeroed at first. With one job in the pool it has no
 * end; else it ends after a while, so that each job gets on. That others are
 * there costs a look at a line that seldom changes.
 */
struct troupe__turn {
    int64_t until; /* 0: no other job has been seen */
    int64_t looked;
    unsigned skip; /* tasks until the next look at the clock */
};

bool troupe__turn_passed(struct troupe__turn *turn);

/* Asked between two tasks; false the first time. */
static inline bool
troupe__turn_over(const troupe_pool *pool, struct troupe__turn *turn)
{
    return TROUPE__UNLIKELY(troupe__load_relaxed(&pool->offered) > 1) &&
           troupe__turn_passed(turn);
}

/* Works on a job as long as there is something for this worker and its turn
 * lasts; false: there was nothing. */
bool troupe__bulk_run(troupe_pool *pool, struct troupe__pool_worker *worker,
                      const struct troupe__bulk_view *view);
bool troupe__stream_run(struct troupe__thread *self, troupe_pool *pool,
                        struct troupe__pool_worker *worker,
                        const struct troupe__stream_view *view);

/* Whether there seems to be something to do. */
bool troupe__bulk_waits(const struct troupe__bulk_view *view);
bool troupe__stream_waits(const struct troupe__stream_view *view);

/* Parts of a job: job.c. */

/* Bytes of the job with its parts, but for copies of the caller's. */
uint64_t troupe__plan_size(const struct troupe__plan *plan);

/* Seals the plan and puts it into the job. */
void troupe__plan_write(struct troupe__job *job, struct troupe__plan *plan);

/* Copies a job's plan; false: it is none, and nothing of the job may be
 * used. */
bool troupe__plan_read(const struct troupe__job *job,
                       struct troupe__plan *ret_plan);

/* Whether the job still says what its creator has put there. */
bool troupe__plan_stands(const struct troupe__job *job,
                         const struct troupe__plan *plan, bool cancelled);

void troupe__bulk_view(struct troupe__bulk *bulk,
                       const struct troupe__plan *plan,
                       struct troupe__bulk_view *ret_view);
void troupe__stream_view(struct troupe__stream *stream,
                         const struct troupe__plan *plan,
                         struct troupe__stream_view *ret_view);

static inline uint32_t
troupe__stream_words(const struct troupe__plan *plan)
{
    return plan->count / 64 + (plan->count % 64 != 0);
}

uint32_t troupe__item_seal(const struct troupe__task_slot *slot, uint64_t item,
                           uint64_t item_size, uint64_t index);

static inline uint32_t
troupe__range_begin(uint64_t range)
{
    return (uint32_t)range;
}

static inline uint32_t
troupe__range_end(uint64_t range)
{
    return (uint32_t)(range >> 32);
}

static inline uint64_t
troupe__range(uint32_t begin, uint32_t end)
{
    return (uint64_t)end << 32 | begin;
}

static inline bool
troupe__range_empty(uint64_t range)
{
    return troupe__range_begin(range) >= troupe__range_end(range);
}

/*
 * The range of a cell. One that goes beyond the job's tasks, which nobody has
 * put there, is taken away: all that is then with nobody is found in the end,
 * see docs/design/pool.md.
 */
static inline uint64_t
troupe__cell_range(const struct troupe__bulk_view *view,
                   struct troupe__cell *cell)
{
    uint64_t range = troupe__load_seq_cst(&cell->range);

    while (TROUPE__UNLIKELY(troupe__range_end(range) > view->plan.count))
        if (troupe__cas_seq_cst(&cell->range, &range, UINT64_C(0)))
            return 0;
    return range;
}

#endif
