/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done about the queues when a thread or a process has died. Nothing of
 * it is needed for the queue to go on: whoever uses a side repairs it. It makes
 * things prompt (leases come back, waiters learn of the end), frees what the
 * dead held, and counts what died with them.
 */
#include "ipc/queue.h"

#include "heap/directory.h"
#include "heap/slot.h"

#include <string.h>

struct dead_thread {
    struct troupe__thread *self;
    struct troupe__slot *slot;
    uint64_t tag;
};

/* Slot and the low bits of the generation. */
static uint32_t
lost_mark(uint64_t tag)
{
    return (uint32_t)(tag >> 32) << 14 | (uint32_t)(tag & TROUPE__TAG_SLOT);
}

_Static_assert(TROUPE__TAG_SLOT < 1 << 14, "a slot's number fits a mark");

/* The delivery that a mark names was counted, and whoever counted it may have
 * died before it could say so in the slot. */
static void
delivery_close(troupe_queue *queue, uint32_t mark)
{
    uint64_t tag = TROUPE__TAG_MARK | (mark & TROUPE__TAG_SLOT);
    struct troupe__slot *slot = troupe__tag_slot(tag);
    uint64_t offset = troupe__family_offset(queue);

    /* The delivery first: one that is a later thread's shows that thread's
     * contents. The one meant is not settled while the lock is ours. */
    if (slot == NULL || troupe__load_acquire(&slot->queue) != offset)
        return;
    tag |= (uint64_t)troupe__load_acquire(&slot->contents) << 32;
    if (lost_mark(tag) == mark && troupe__tag_dead(tag))
        (void)troupe__cas_seq_cst(&slot->queue, &offset, UINT64_C(0));
}

/*
 * Counts messages that died with a consumer, once: recovery may come here again
 * for the same thread. The mark beside the count tells that it was counted; it
 * makes way for the next one's only when the slot tells so too. The caller
 * holds the directory's lock.
 */
static void
count_lost(troupe_queue *queue, uint64_t tag, uint32_t items)
{
    uint32_t mark = lost_mark(tag);
    uint64_t lost = troupe__load_relaxed(&queue->lost);

    if ((uint32_t)lost == mark)
        return;
    delivery_close(queue, (uint32_t)lost);
    troupe__store_release(&queue->lost, ((lost >> 32) + items) << 32 | mark);
}

/* The thread died between the commit of a get and its return. Which of both
 * sides of the commit, is settled under the lock: while the dead may still hold
 * that, a living getter could take the message in its stead. */
static void
delivery_recover(const struct dead_thread *dead)
{
    uint64_t offset = troupe__load_acquire(&dead->slot->queue);
    troupe_queue *queue = troupe__family_at(offset);

    if (offset == 0 || !troupe__queue_valid(queue))
        return;
    if (troupe__queue_get_visit(dead->self, queue, dead->tag))
        troupe__mutex_release(dead->self, &queue->get.lock);
    /* In this order: who could take the message in the dead's stead has first
     * taken the delivery back. */
    if (troupe__queue_taken(queue, dead->slot->queue_head) &&
        troupe__load_acquire(&dead->slot->queue) == offset)
        count_lost(queue, dead->tag, dead->slot->queue_items);
    troupe__store_release(&dead->slot->queue, UINT64_C(0));
}

/* A waiter is not asleep any more. */
static void
waiter_recover(const struct dead_thread *dead)
{
    uint32_t kind = troupe__load_acquire(&dead->slot->wait_kind);
    troupe_queue *queue =
        troupe__family_at(troupe__load_relaxed(&dead->slot->wait_object));
    unsigned side =
        kind == TROUPE__KIND_QUEUE_ITEMS ? TROUPE_QUEUE_GET : TROUPE_QUEUE_PUT;

    if ((kind != TROUPE__KIND_QUEUE_ITEMS && kind != TROUPE__KIND_QUEUE_ROOM) ||
        !troupe__queue_valid(queue))
        return;
    troupe__store_release(&dead->slot->wait_kind, 0u);
    /* The wake-up it died with goes to another. */
    if (troupe__eventword_leave(&queue->side[side].event))
        troupe__queue_signal(queue, side, 1);
}

/* Calls `step` for the queues that were being made or freed. */
static void
held_recover(struct troupe__slot *slot,
             void (*step)(struct troupe__thread *self, troupe_queue *queue))
{
    uint32_t mine = troupe__owner_held(slot);
    uint32_t i;

    for (i = 0; i < TROUPE__HELD; i++) {
        uint32_t record = slot->held[i];
        troupe_queue *queue = troupe__block_at(record);

        if (record != 0 && troupe__block_owner(queue) == mine &&
            troupe__object_held(queue, TROUPE__KIND_QUEUE))
            step(troupe__thread_self, queue);
    }
}

/* Whether the lock is to be looked at for a dead thread: it held it, or died in
 * what the lock protects, or somebody who looked before us died with it. */
static bool
held_by(const struct troupe__mutex *lock, uint64_t owner, uint64_t tag)
{
    uint64_t holder = troupe__load_relaxed(&lock->word) & ~TROUPE__WAITERS;

    return owner == tag || holder == tag ||
           (holder != 0 && troupe__tag_dead(holder));
}

static void
queue_recover(void *object, void *context)
{
    const struct dead_thread *dead = context;
    struct troupe__thread *self = dead->self;
    troupe_queue *queue = object;
    unsigned returned = 0;
    unsigned lessees;

    if (troupe__load_relaxed(&queue->parties.next) != 0)
        troupe__queue_parties_settle(queue, troupe__owner_held(dead->slot));
    if (held_by(&queue->put.lock, troupe__load_relaxed(&queue->put.owner),
                dead->tag) &&
        troupe__queue_put_visit(self, queue, dead->tag)) {
        troupe__mutex_release(self, &queue->put.lock);
        /* It may have died with a wake-up to give. */
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, 1);
    }
    if (held_by(&queue->get.lock, troupe__load_relaxed(&queue->get.owner),
                dead->tag) ||
        troupe__load_acquire(&queue->get.window) != 0) {
        if (troupe__queue_get_visit(self, queue, dead->tag)) {
            returned = troupe__queue_reap(queue, dead->tag, NULL, 0, &lessees);
            troupe__mutex_release(self, &queue->get.lock);
        } else {
            /* Somebody is in the way: the next getter looks itself. */
            troupe__store_release(&queue->get.rescan, 1u);
            returned = 1;
        }
        troupe__queue_signal(queue, TROUPE_QUEUE_PUT, 1);
    }
    if (returned > 0)
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, returned);
}

static void
thread_died(struct troupe__slot *slot, uint64_t tag)
{
    struct dead_thread dead = {troupe__thread_self, slot, tag};

    delivery_recover(&dead);
    waiter_recover(&dead);
    held_recover(slot, troupe__queue_detach);
    troupe__directory_walk(TROUPE__KIND_QUEUE, queue_recover, &dead);
}

static void
thread_held(struct troupe__slot *slot)
{
    held_recover(slot, troupe__queue_empty_out);
}

struct dead_member {
    struct troupe__thread *self;
    struct troupe__member_ref member;
    bool settled;
};

static void
queue_party_died(void *object, void *context)
{
    struct dead_member *dead = context;

    if (!troupe__queue_party_died(dead->self, object, dead->member))
        dead->settled = false;
}

static bool
member_died(uint32_t number, uint32_t generation)
{
    struct dead_member dead = {troupe__thread_self, {number, generation}, true};

    troupe__directory_walk(TROUPE__KIND_QUEUE, queue_party_died, &dead);
    return dead.settled;
}

const struct troupe__recovery troupe__queue_recovery = {
    .slot = thread_died, .member = member_died, .held = thread_held};
