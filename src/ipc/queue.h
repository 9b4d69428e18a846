/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue inside the library: what its files share, and what the layers above
 * may use.
 */
#ifndef TROUPE_SRC_IPC_QUEUE_H
#define TROUPE_SRC_IPC_QUEUE_H

#include "base/atomic.h"
#include "heap/alloc.h"
#include "heap/family.h"
#include "heap/member.h"
#include "heap/mutex.h"
#include "heap/slot.h"
#include "heap/wait.h"
#include "ipc/queue_layout.h"
#include "sync/doorbell.h"

#include <troupe/queue.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Declares a member a producer (TROUPE_QUEUE_PUT) or consumer
 * (TROUPE_QUEUE_GET), before it exists if need be. 0; -EINVAL, -EPIPE,
 * -ESHUTDOWN, -ENOMEM as troupe_queue_attach_producer().
 */
int troupe__queue_declare(troupe_queue *queue, int side,
                          struct troupe__member_ref member);

/* Takes a declaration back as if it had never been: the member's start has
 * failed. */
void troupe__queue_undeclare(troupe_queue *queue, int side,
                             struct troupe__member_ref member);

/* For tests, on a fresh queue: as if `number` messages had passed and the next
 * one went to the cell `position`. */
void troupe__queue_begin_at(troupe_queue *queue, uint32_t number,
                            uint32_t position);

/* The rest is for the queue's own files. */

static inline uint32_t
troupe__place_position(uint64_t place)
{
    return (uint32_t)place;
}

static inline uint32_t
troupe__place_number(uint64_t place)
{
    return (uint32_t)(place >> 32);
}

static inline uint64_t
troupe__place_make(uint32_t position, uint32_t number)
{
    return (uint64_t)number << 32 | position;
}

/* How many messages `later` is behind `earlier`; the two are in this order. */
static inline uint32_t
troupe__place_between(uint64_t earlier, uint64_t later)
{
    return troupe__place_number(later) - troupe__place_number(earlier);
}

/* Whether a place has been passed: `now` is behind its record. */
static inline bool
troupe__place_passed(uint64_t place, uint64_t now)
{
    return (int32_t)troupe__place_between(place, now) > 0;
}

/* How far the arena is known to have memory: further than any queue that this
 * process has used. Spares it a look at the heap's own figure. */
extern uint64_t troupe__queue_reach;
bool troupe__queue_reaches(uint64_t offset);

static inline bool
troupe__queue_valid(const troupe_queue *queue)
{
    uint64_t offset = (uint64_t)(uintptr_t)queue - troupe__family.base;

    return troupe__load_acquire(&troupe__family.heap) != NULL &&
           (offset & 63) == 0 &&
           (offset - troupe__family.arena_offset <
                troupe__load_relaxed(&troupe__queue_reach) ||
            troupe__queue_reaches(offset)) &&
           queue->object.magic == TROUPE__OBJECT_MAGIC + TROUPE__KIND_QUEUE;
}

/* What a call begins with. 0; -EINVAL: it is no queue; or why the thread could
 * not join the family. */
static inline int
troupe__queue_begin(const troupe_queue *queue, struct troupe__thread **ret_self)
{
    int status;

    if (!troupe__queue_valid(queue))
        return -EINVAL;
    *ret_self = troupe__thread_enter(&status);
    return *ret_self == NULL ? status : 0;
}

static inline struct troupe__record *
troupe__queue_record(const troupe_queue *queue, uint32_t position)
{
    return (struct troupe__record *)((uintptr_t)queue + TROUPE__QUEUE_RING) +
           position;
}

/* Cells that `size` bytes take, without the header. */
static inline uint32_t
troupe__queue_cells(uint64_t size)
{
    return (uint32_t)((size + TROUPE__CELL - 1) / TROUPE__CELL);
}

/* Copies a payload, most of which are small. */
static inline void
troupe__queue_copy(void *to, const void *from, size_t size)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    /* Two halves that may overlap, of a size known to the compiler. */
    if (size > 64) {
        memcpy(t, f, size);
    } else if (size > 32) {
        memcpy(t, f, 32);
        memcpy(t + size - 32, f + size - 32, 32);
    } else if (size >= 16) {
        memcpy(t, f, 16);
        memcpy(t + size - 16, f + size - 16, 16);
    } else if (size >= 8) {
        memcpy(t, f, 8);
        memcpy(t + size - 8, f + size - 8, 8);
    } else if (size >= 4) {
        memcpy(t, f, 4);
        memcpy(t + size - 4, f + size - 4, 4);
    } else {
        for (; size > 0; size--)
            *t++ = *f++;
    }
}

/* A record, read once and checked. */
struct troupe__found {
    uint64_t place; /* of the record itself, padding skipped */
    uint64_t next;  /* the place behind it */
    struct troupe__record *record;
    uint64_t ctl;
    uint64_t size;
    uint32_t block;
    uint32_t weight; /* of this record */
};

/*
 * Reads the record at a place that is not the end (`tail`), skipping padding.
 * 0; -EBADMSG: what is there is no record of a queue in order. The caller keeps
 * it from being overwritten: it holds one of the locks, or single ownership of
 * a side.
 */
int troupe__queue_read(const troupe_queue *queue, uint64_t place, uint64_t tail,
                       struct troupe__found *ret);

/* What may end the wait for one of the queue's locks, besides its deadline: */
#define TROUPE__QUEUE_STOPS  1u /* asked to stop, in a stoppable section */
#define TROUPE__QUEUE_CLOSES 2u /* this member has closed the queue */

/*
 * Takes one of the queue's locks. As troupe__mutex_acquire(), whose holders are
 * done in a moment, unless one was stopped inside (SIGSTOP): so it looks now
 * and then whether the caller would rather not wait any longer. -ECANCELED,
 * -ESHUTDOWN.
 */
int troupe__queue_lock(struct troupe__thread *self, troupe_queue *queue,
                       struct troupe__mutex *lock, troupe_deadline deadline,
                       unsigned ends, uint64_t *ret_dead);

int troupe__queue_lock_slow(struct troupe__thread *self, troupe_queue *queue,
                            struct troupe__mutex *lock, uint64_t *owner,
                            troupe_deadline deadline, bool single,
                            unsigned ends, uint64_t *ret_dead);

/*
 * Begins an operation of a side by a thread that puts (gets): takes its lock,
 * or in a queue with a single producer (consumer) makes sure that this thread
 * is it. 0; 1: the caller must repair what *ret_dead (0: nobody in particular)
 * left behind; -EAGAIN, -ETIMEDOUT, and as troupe__queue_lock().
 */
static TROUPE__INLINE int
troupe__queue_enter(struct troupe__thread *self, troupe_queue *queue,
                    struct troupe__mutex *lock, uint64_t *owner, bool single,
                    troupe_deadline deadline, unsigned ends, uint64_t *ret_dead)
{
    uint64_t free = 0;

    if (single) {
        if (TROUPE__LIKELY(troupe__load_relaxed(owner) == self->tag))
            return 0;
    } else {
        self->locks++;
        /* acquire: pairs with the exchange in troupe__word_release. */
        if (TROUPE__LIKELY(troupe__cas_acquire(&lock->word, &free, self->tag)))
            return 0;
        self->locks--;
    }
    return troupe__queue_lock_slow(self, queue, lock, owner, deadline, single,
                                   ends, ret_dead);
}

static inline void
troupe__queue_leave(struct troupe__thread *self, struct troupe__mutex *lock,
                    bool single)
{
    if (!single)
        troupe__mutex_release(self, lock);
}

/* Takes a side's lock for troupe__queue_put_visit() and _get_visit(). 0: taken;
 * 1: taken over from a dead thread, the side is to be repaired; -EAGAIN. */
int troupe__queue_visit(struct troupe__thread *self, struct troupe__mutex *lock,
                        uint64_t *owner, bool single, uint64_t leaving,
                        uint64_t *ret_dead);

/*
 * The cells of the ring: what all positions are held against. 0, in which none
 * lies, when somebody has written over the number.
 */
static TROUPE__INLINE uint32_t
troupe__queue_ring_size(const troupe_queue *queue)
{
    uint32_t cells = troupe__load_relaxed(&queue->cells);

    return TROUPE__LIKELY(cells ==
                          ~troupe__load_relaxed(&queue->cells_inverted))
               ? cells
               : 0;
}

/*
 * Whether `cells` in one piece are free between a tail and a head, the ring
 * being empty or not; *ret_at is where they begin. False also when the places
 * are none of the ring's.
 */
static TROUPE__INLINE bool
troupe__queue_ring_fits(const troupe_queue *queue, uint64_t head, uint64_t tail,
                        uint32_t cells, uint32_t *ret_at)
{
    uint32_t at = troupe__place_position(tail);
    uint32_t end = troupe__place_position(head);
    uint32_t ring = troupe__queue_ring_size(queue);

    if (at >= ring || end >= ring)
        return false;
    if (at > end || troupe__place_between(head, tail) == 0) {
        if (cells <= ring - at) {
            *ret_at = at;
            return true;
        }
        /* The rest becomes padding, the record begins at the start. */
        *ret_at = 0;
        return cells <= end;
    }
    *ret_at = at;
    return cells <= end - at;
}

/*
 * Takes a side as somebody who neither puts nor gets, and repairs it if its
 * owner is dead; to be given back with troupe__mutex_release(). In a queue with
 * a single producer (consumer) that is possible only while that one does not
 * live, or is `leaving`. False: not now.
 */
bool troupe__queue_put_visit(struct troupe__thread *self, troupe_queue *queue,
                             uint64_t leaving);
bool troupe__queue_get_visit(struct troupe__thread *self, troupe_queue *queue,
                             uint64_t leaving);

static inline bool
troupe__queue_single_put(const troupe_queue *queue)
{
    return (queue->options & TROUPE__QUEUE_SINGLE_PRODUCER) != 0;
}

static inline bool
troupe__queue_single_get(const troupe_queue *queue)
{
    return (queue->options & TROUPE__QUEUE_SINGLE_CONSUMER) != 0;
}

/* What `tail` says, without the bit that it is the end. */
static inline uint64_t
troupe__queue_tail(const troupe_queue *queue, uint64_t tail)
{
    return troupe__queue_single_put(queue) ? tail & ~TROUPE__QUEUE_END : tail;
}

/* Something has changed that `count` waiters (and pollers) of a side can use.
 * After the commit, and after the lock's release or a seq_cst store. */
static inline void
troupe__queue_signal(troupe_queue *queue, unsigned side, uint32_t count)
{
    troupe__eventword_signal(&queue->side[side].event, count);
    troupe__doorbell_signal(&queue->side[side].pollers);
}

/*
 * Leases of the dead (and of `leaving`) are READY again. The caller holds the
 * get side. Gives how many, and up to `room` living lessees.
 */
unsigned troupe__queue_reap(troupe_queue *queue, uint64_t leaving,
                            uint64_t *lessees, unsigned room,
                            unsigned *ret_lessees);

/* Takes messages that were taken and released, but not yet passed by head, out
 * of the way of who waits for room. The caller holds neither side. True: there
 * is more room now. */
bool troupe__queue_advance(struct troupe__thread *self, troupe_queue *queue);

/* Whether the message at a place has left the queue. The caller holds the get
 * side, or knows that nobody will take that message any more. */
bool troupe__queue_taken(const troupe_queue *queue, uint64_t place);

/* Parties: see queue_parties.c. */

/* -ESHUTDOWN if this member has closed the queue. Called when the flag
 * TROUPE__QUEUE_CLOSED is set. */
int troupe__queue_closed(struct troupe__thread *self, troupe_queue *queue);

/* Notes that this member has closed the queue, and ends its roles. */
int troupe__queue_party_close(struct troupe__thread *self, troupe_queue *queue);

/* Looks whether the last declared producer (side PUT) or consumer (GET) has
 * left; flags say so from then on. *ret_watch: a thread of one that lives, or
 * 0; *ret_dying: one has no living thread but has not ended. */
void troupe__queue_parties_look(struct troupe__thread *self,
                                troupe_queue *queue, unsigned side,
                                uint64_t *ret_watch, bool *ret_dying);

/* How many declared ones of a side are there. */
uint32_t troupe__queue_parties_count(struct troupe__thread *self,
                                     troupe_queue *queue, unsigned side);

/* A member has died: its cells are cleared. False: not now, a lock is held. */
bool troupe__queue_party_died(struct troupe__thread *self, troupe_queue *queue,
                              struct troupe__member_ref member);

/* A thread has ended: a table it was adding becomes the queue's. */
void troupe__queue_parties_settle(troupe_queue *queue, uint32_t owner);

/* Frees the tables. */
void troupe__queue_parties_free(struct troupe__thread *self,
                                troupe_queue *queue);

/* Two steps of freeing a queue, which is the calling thread's, or a dead one's
 * that is being recovered, and which nobody uses. Both may be repeated. First,
 * with the directory's lock: takes it out of what recovery looks at. */
void troupe__queue_detach(struct troupe__thread *self, troupe_queue *queue);

/* Then, without it, for there may be much: frees what it holds. */
void troupe__queue_empty_out(struct troupe__thread *self, troupe_queue *queue);

/* What is done when a thread or a process has died: see queue_recover.c. */
extern const struct troupe__recovery troupe__queue_recovery;

#endif
