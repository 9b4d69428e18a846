/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool as it lies in the heap: docs/design/pool.md says why.
 *
 * The truth about a task is one word, changed by compare-and-swap by whoever
 * ends it: its byte in a bulk job, its slot's state in a stream. Everything
 * else (ranges, the cursor, bit maps, counters, event words) is a hint that may
 * die with a worker and that the creator makes anew.
 *
 * Writers: `creator` says that only threads of the creator write, under the
 * lock of its private record, unless something else is said; `worker` the one
 * worker that the line belongs to.
 *
 * Nothing here is trusted, for any member may write anywhere. Where things are
 * and how many there are, the creator knows from copies of its own (pool.h);
 * the others copy what was sealed (struct troupe__plan, an item), once, and
 * look at the seal. What is a hint leads at worst to a second look.
 */
#ifndef TROUPE_SRC_POOL_POOL_LAYOUT_H
#define TROUPE_SRC_POOL_POOL_LAYOUT_H

#include "base/macros.h"
#include "heap/layout.h"
#include "sync/eventword.h"

#include <troupe/pool.h>

#include <stdint.h>

#define TROUPE__POOL_JOBS 64u

enum troupe__pool_state {
    TROUPE__POOL_OPEN = 0,
    TROUPE__POOL_CLOSED = 1,
    TROUPE__POOL_TERMINATED = 2
};

/* One worker, or the place of one: the process in it changes. */
struct troupe__pool_worker {
    /* Of its thread: set by the worker as its first act, and taken back by the
     * creator when it has settled the worker's death. 0: none, or not there
     * yet. */
    uint64_t tag;
    /* Offset of the job that it looks at or works on: while this stands and
     * the job table has the same offset, the job is not freed. worker */
    uint64_t job;
    uint64_t ended;  /* tasks ended by this process. worker */
    int32_t pid;     /* worker; 0 again by the creator */
    uint32_t busy;   /* it has a task. worker */
    uint32_t left;   /* it ends by itself, nothing is lost. worker */
    uint32_t member; /* of the process; for recovery. creator */
    uint32_t member_generation;
    uint32_t next_job; /* where to look first; worker */
    /* It turns to no other job than the one it is at: it may be killed for
     * that one. creator */
    uint32_t barred;
    uint32_t reserved_[19];
};

struct troupe_pool {
    struct troupe__object object;

    /* Constant. */
    uint32_t processes;
    uint32_t member; /* the creator */
    uint32_t member_generation;
    uint32_t reserved_;

    /* creator */
    uint32_t state; /* enum troupe__pool_state; only ever raised */
    /* A worker is being started, and not yet known by its member: while this
     * stands a dead creator's pool is freed only when it has no child left. */
    uint32_t starting;
    uint32_t alive;
    uint32_t workers_lost;
    uint64_t tasks_ended; /* by workers that are dead */
    uint64_t tasks_interrupted;
    uint32_t offered; /* jobs in the table */
    uint32_t reserved2_[3];

    /* Workers sleep here until there is work. */
    struct {
        struct troupe__eventword event;
        uint64_t
            submitted; /* counts what was offered; idle workers spin on it */
        uint64_t reserved_[6];
    } work;

    /* Threads of the creator sleep here until something has ended. */
    struct {
        struct troupe__eventword event;
        uint64_t reserved_[7];
    } news;

    /* Offset of each job; 0: none. And the record of the block, held by the
     * pool, in which it is or was: while it stands the place is taken. creator,
     * both */
    uint64_t jobs[TROUPE__POOL_JOBS];
    uint32_t records[TROUPE__POOL_JOBS];

    struct troupe__pool_worker workers[];
};

enum troupe__job_kind { TROUPE__JOB_BULK = 1, TROUPE__JOB_STREAM = 2 };

/*
 * What a job is. Constant: the creator has a copy, and finds out when this one
 * was overwritten; a worker takes one for each of its turns, if the seal is
 * right (job.c). Where the parts of the job stand follows from the numbers.
 */
struct troupe__plan {
    uint64_t function;
    uint64_t context;
    uint64_t items; /* of a map, as the rest here */
    uint64_t results;
    uint64_t item_size;
    uint64_t result_size;
    uint32_t kind;  /* enum troupe__job_kind */
    uint32_t count; /* tasks of a map; slots of a stream */
    uint32_t cells; /* of a map */
    uint32_t seal;
};

/* What every job begins with. */
struct troupe__job {
    struct troupe__plan plan;
    uint32_t cancelled; /* creator */
    /* In a stream, where workers look first, so that old items go first. A
     * hint. */
    uint32_t next;
};

/* State of a task in a bulk job: PENDING is left once, by compare-and-swap. */
enum troupe__task_state {
    TROUPE__TASK_PENDING = 0,
    TROUPE__TASK_VALUE = 1,
    TROUPE__TASK_ERROR = 2, /* statuses[] has it */
    TROUPE__TASK_LOST = 3,
    TROUPE__TASK_CANCELLED = 4
};

/*
 * A worker's share of a bulk job.
 *
 * range    end << 32 | begin: tasks that the worker has and has not begun. It
 *          takes one by adding 1; thieves take from the end; both by
 *          compare-and-swap.
 * current  (task + 1) << 1: the worker is about to take the task; the lowest
 *          bit is set when it is about to call the function. Whether the task
 *          was taken, `range` tells: then it begins behind it.
 * claims   odd while a range is on its way into `range` from elsewhere: a
 *          worker that dies then may have taken tasks that nobody has.
 */
struct troupe__cell {
    uint64_t range;
    uint64_t current;
    uint64_t ended; /* tasks ended by the worker in this place. worker */
    uint32_t claims;
    uint32_t reserved_[9];
};

#define TROUPE__CURRENT_BEGUN 1u

/* A map: followed by cells, states, statuses, and copies of what does not lie
 * in the heap. */
struct troupe__bulk {
    struct troupe__job job;

    /* pass << 32 | first task that nobody has claimed. A new pass over all
     * tasks is made when claims have died; it finds what is still pending. */
    uint64_t cursor;
    uint64_t reserved_[6];

    struct troupe__cell cell[];
};

/*
 * State of a slot:
 *
 *     FREE
 *     sequence << 32 | READY    the item is there
 *     tag | RUNNING             and has a worker
 *     VALUE, ERROR, LOST, CANCELLED
 *
 * FREE -> READY by the thread that uses the iterator; READY -> RUNNING by a
 * worker; RUNNING -> VALUE or ERROR by that worker; RUNNING of a dead worker ->
 * READY, VALUE, LOST or CANCELLED by the creator; READY -> CANCELLED by the
 * creator; ... -> FREE by the thread that uses the iterator.
 */
enum troupe__slot_kind {
    TROUPE__SLOT_FREE = 0,
    TROUPE__SLOT_READY = 1,
    TROUPE__SLOT_RUNNING = 2,
    TROUPE__SLOT_VALUE = 3,
    TROUPE__SLOT_ERROR = 4,
    TROUPE__SLOT_LOST = 5,
    TROUPE__SLOT_CANCELLED = 6
};

/* The kind stands in bits that a tag does not use. */
#define TROUPE__SLOT_SHIFT      16
#define TROUPE__SLOT_MASK       (UINT64_C(7) << TROUPE__SLOT_SHIFT)
#define TROUPE__SLOT_WORD(kind) ((uint64_t)(kind) << TROUPE__SLOT_SHIFT)

_Static_assert((TROUPE__SLOT_MASK & (TROUPE__TAG_SLOT | TROUPE__TAG_MARK)) == 0,
               "kind and tag are apart");

/* Values and items up to this size lie in the slot. */
#define TROUPE__SLOT_INLINE 64u

/*
 * One task of a stream. Aligned to 64: it holds blocks. Item, size and index
 * are sealed.
 *
 * The value is committed by passing its block from the attempt's scope to the
 * slot: `block` and `value_size` are written before, by the worker that has the
 * slot, and are zeroed before each attempt. So a dead worker's value is there
 * if and only if the slot holds that block. A value that lies in the slot, or
 * an empty one, is committed by the state.
 */
struct troupe__task_slot {
    uint64_t state;
    uint64_t item; /* address */
    uint64_t item_size;
    uint64_t index;
    uint32_t seal;
    uint32_t reserved_;
    uint64_t value_size;
    uint32_t item_block; /* record of a block that the slot holds; 0: none */
    uint32_t block;      /* likewise, of the value */
    uint32_t attempt;
    uint32_t begun; /* the function is about to be called. worker */
    int32_t status;
    int32_t pid;
    int32_t signal;
    uint32_t reserved2_[13];
    unsigned char item_inline[TROUPE__SLOT_INLINE];
    unsigned char value_inline[TROUPE__SLOT_INLINE];
    char message[TROUPE_TASK_MESSAGE];
};

/* An imap: followed by its two bit maps (ready and done), one bit for each
 * slot, and the slots. A bit is set after the state it tells of, and taken
 * before it is acted upon: it may be missing when a worker has died, and is
 * then set again. */
struct troupe__stream {
    struct troupe__job job;
    uint64_t reserved_[7];
};

_Static_assert(sizeof(struct troupe__plan) == 64, "a line");
_Static_assert(sizeof(struct troupe__pool_worker) == 128, "two lines each");
_Static_assert(sizeof(struct troupe__cell) == 64, "a line each");
_Static_assert(sizeof(struct troupe__bulk) % 64 == 0, "cells are lines");
_Static_assert(sizeof(struct troupe__stream) % 64 == 0, "slots are aligned");
_Static_assert(sizeof(struct troupe__task_slot) % 64 == 0, "holds blocks");
_Static_assert(sizeof(struct troupe_pool) % 64 == 0, "workers are lines");

#endif
