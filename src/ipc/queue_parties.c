/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes part in a queue: declared producers and consumers, and members that
 * have closed it. One cell for each, in tables that grow; all under the party
 * lock, and each change is one store. From the cells follows whether a side has
 * ended, and a flag keeps the answer once it is yes.
 */
#include "ipc/queue.h"

#include "heap/slot.h"
#include "os/clock.h"

#include <errno.h>
#include <string.h>

static uint64_t
cell_make(enum troupe__party kind, struct troupe__member_ref member)
{
    return (uint64_t)member.generation << 32 | (uint64_t)kind << 16 |
           member.number;
}

static enum troupe__party
cell_kind(uint64_t cell)
{
    return (enum troupe__party)(cell >> 16 & 0xff);
}

static struct troupe__member_ref
cell_member(uint64_t cell)
{
    struct troupe__member_ref member = {(uint32_t)(cell & 0xffff),
                                        (uint32_t)(cell >> 32)};

    return member;
}

/* What a side's users are called. */
static enum troupe__party
side_kind(unsigned side)
{
    return side == TROUPE_QUEUE_PUT ? TROUPE__PARTY_PRODUCER
                                    : TROUPE__PARTY_CONSUMER;
}

static enum troupe__party
side_left(unsigned side)
{
    return side == TROUPE_QUEUE_PUT ? TROUPE__PARTY_PRODUCER_LEFT
                                    : TROUPE__PARTY_CONSUMER_LEFT;
}

static uint32_t
side_came(unsigned side)
{
    return side == TROUPE_QUEUE_PUT ? TROUPE__QUEUE_PRODUCERS_CAME
                                    : TROUPE__QUEUE_CONSUMERS_CAME;
}

static uint32_t
side_gone(unsigned side)
{
    return side == TROUPE_QUEUE_PUT ? TROUPE__QUEUE_PRODUCERS_GONE
                                    : TROUPE__QUEUE_CONSUMERS_GONE;
}

/* The table after this one, or NULL. */
static struct troupe__parties *
table_next(const struct troupe__parties *table)
{
    uint64_t next = troupe__load_acquire(&table->next);
    struct troupe__parties *found = next == 0 ? NULL : troupe__family_at(next);

    return found != NULL && troupe_heap_contains(found, sizeof(*found)) ? found
                                                                        : NULL;
}

/* More tables than any queue has: a wild store may have made a ring of them. */
#define TABLES 65536u

/* Walks all cells: for (cells_begin(&w, q); (c = cells_next(&w)) != NULL;) */
struct walk {
    struct troupe__parties *table;
    unsigned i;
    unsigned left;
};

static void
cells_begin(struct walk *walk, troupe_queue *queue)
{
    walk->table = &queue->parties;
    walk->i = 0;
    walk->left = TABLES;
}

static uint64_t *
cells_next(struct walk *walk)
{
    if (walk->i == TROUPE__PARTIES) {
        walk->table = walk->left-- == 0 ? NULL : table_next(walk->table);
        walk->i = 0;
    }
    return walk->table == NULL ? NULL : &walk->table->cells[walk->i++];
}

/* The lock; nothing needs repair when its holder has died. Without a deadline
 * it ends with the request to stop alone. */
static int
lock(struct troupe__thread *self, troupe_queue *queue, troupe_deadline deadline)
{
    int status = troupe__queue_lock(self, queue, &queue->party_lock, deadline,
                                    TROUPE__QUEUE_STOPS, NULL);

    return status < 0 ? status : 0;
}

static void
unlock(struct troupe__thread *self, troupe_queue *queue)
{
    troupe__mutex_release(self, &queue->party_lock);
}

static uint64_t *
find(troupe_queue *queue, uint64_t wanted)
{
    struct walk walk;
    uint64_t *cell;

    cells_begin(&walk, queue);
    while ((cell = cells_next(&walk)) != NULL)
        if (*cell == wanted)
            return cell;
    return NULL;
}

/* A cell to use, in a new table if need be. */
static uint64_t *
cell_new(struct troupe__thread *self, troupe_queue *queue)
{
    struct troupe__parties *last = &queue->parties;
    struct troupe__parties *table;
    struct walk walk;
    uint64_t *cell;

    cells_begin(&walk, queue);
    while ((cell = cells_next(&walk)) != NULL) {
        last = walk.table;
        if (*cell == 0)
            return cell;
    }
    table = troupe__block_hold(self, sizeof(*table));
    if (table == NULL)
        return NULL;
    memset(table, 0, sizeof(*table));
    troupe__store_release(&last->next, troupe__family_offset(table));
    /* Killed before this: recovery finds it in the list and does the same. */
    (void)troupe__block_pass(table, troupe__owner_held(self->slot),
                             troupe__owner_held(queue));
    return &table->cells[0];
}

/* Whether as many as declared (one, if no number was) have come. The flag says
 * so from then on. */
static bool
all_came(troupe_queue *queue, unsigned side)
{
    uint32_t expected = queue->expected[side];
    uint32_t came = 0;
    struct walk walk;
    uint64_t *cell;

    if (troupe__load_relaxed(&queue->flags) & side_came(side))
        return true;
    cells_begin(&walk, queue);
    while ((cell = cells_next(&walk)) != NULL)
        came += cell_kind(*cell) == side_kind(side) ||
                cell_kind(*cell) == side_left(side);
    if (came == 0 || came < expected)
        return false;
    (void)troupe__fetch_or_seq_cst(&queue->flags, side_came(side));
    return true;
}

/* Those who have left are kept where their number matters; else one of them,
 * which tells that somebody has come. */
static void
cell_leave(troupe_queue *queue, uint64_t *cell, unsigned side)
{
    struct troupe__member_ref nobody = {0, 0};
    uint64_t left = cell_make(side_left(side), nobody);

    if (queue->expected[side] == 0 && find(queue, left) != NULL)
        left = 0;
    troupe__store_release(cell, left);
}

/* A thread of a member, living; 0: none. */
static uint64_t
member_thread(struct troupe__member_ref member)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);
        uint64_t tag;

        if (troupe__load_acquire(&slot->member) != member.number ||
            troupe__load_relaxed(&slot->member_generation) != member.generation)
            continue;
        tag = (uint64_t)troupe__load_acquire(&slot->generation) << 32 |
              TROUPE__TAG_MARK | (i + 1);
        if (!troupe__tag_dead(tag))
            return tag;
    }
    return 0;
}

/* Who puts is to learn of the last consumer's end: whom it looks at. Comes
 * after what follows from that end, for whoever finds the old one here looks
 * again. */
static void
consumer_set(troupe_queue *queue, uint64_t consumer)
{
    troupe__store_release(&queue->consumer, consumer);
}

/* Clears out who has left a side, under the lock; whether that was the end. */
static void
side_look(troupe_queue *queue, unsigned side, uint64_t *ret_watch,
          bool *ret_dying)
{
    bool living = false;
    struct walk walk;
    uint64_t *cell;

    cells_begin(&walk, queue);
    while ((cell = cells_next(&walk)) != NULL) {
        struct troupe__member_ref member = cell_member(*cell);
        uint64_t thread;

        if (cell_kind(*cell) != side_kind(side))
            continue;
        thread = *ret_watch == 0 ? member_thread(member) : 0;
        if (thread != 0) {
            *ret_watch = thread;
            living = true;
        } else if (troupe__member_dead(member)) {
            cell_leave(queue, cell, side);
        } else {
            living = true;
            /* Not started yet, or about to be gone. */
            if (*ret_watch == 0)
                *ret_dying = true;
        }
    }
    if (!living || *ret_watch != 0)
        *ret_dying = false;
    if (!living && all_came(queue, side))
        (void)troupe__fetch_or_seq_cst(&queue->flags, side_gone(side));
    if (side == TROUPE_QUEUE_GET)
        consumer_set(queue, living && *ret_watch == 0 ? TROUPE__QUEUE_LOOK
                                                      : *ret_watch);
}

static void
wake_if_gone(troupe_queue *queue, uint32_t before)
{
    uint32_t fresh = troupe__load_acquire(&queue->flags) & ~before;

    if (fresh & TROUPE__QUEUE_PRODUCERS_GONE)
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, UINT32_MAX);
    /* Who puts undeclared waits for room that is of no use any more. */
    if (fresh & (TROUPE__QUEUE_CONSUMERS_GONE | TROUPE__QUEUE_PRODUCERS_GONE))
        troupe__queue_signal(queue, TROUPE_QUEUE_PUT, UINT32_MAX);
}

void
troupe__queue_parties_look(struct troupe__thread *self, troupe_queue *queue,
                           unsigned side, uint64_t *ret_watch, bool *ret_dying)
{
    uint32_t before = troupe__load_relaxed(&queue->flags);

    *ret_watch = 0;
    *ret_dying = false;
    if (lock(self, queue, troupe_after_ns(TROUPE__LOCK_BOUND)) < 0)
        return;
    side_look(queue, side, ret_watch, ret_dying);
    unlock(self, queue);
    wake_if_gone(queue, before);
}

uint32_t
troupe__queue_parties_count(struct troupe__thread *self, troupe_queue *queue,
                            unsigned side)
{
    uint32_t count = 0;
    struct walk walk;
    uint64_t *cell;

    if (lock(self, queue, troupe_after_ns(TROUPE__LOCK_BOUND)) < 0)
        return 0;
    cells_begin(&walk, queue);
    while ((cell = cells_next(&walk)) != NULL)
        count += cell_kind(*cell) == side_kind(side) &&
                 !troupe__member_dead(cell_member(*cell));
    unlock(self, queue);
    return count;
}

/* The member has left both sides; under the lock. */
static void
sides_leave(troupe_queue *queue, struct troupe__member_ref member)
{
    unsigned side;

    for (side = 0; side < TROUPE__QUEUE_SIDES; side++) {
        uint64_t *cell = find(queue, cell_make(side_kind(side), member));
        uint64_t watch = 0;
        bool dying = false;

        if (cell == NULL)
            continue;
        cell_leave(queue, cell, side);
        side_look(queue, side, &watch, &dying);
    }
}

static struct troupe__member_ref
member_of(const struct troupe__thread *self)
{
    struct troupe__member_ref member = {self->member,
                                        self->slot->member_generation};

    return member;
}

int
troupe__queue_closed(struct troupe__thread *self, troupe_queue *queue)
{
    uint64_t mine = cell_make(TROUPE__PARTY_CLOSED, member_of(self));

    /* Without the lock: a member's own cell does not go while it lives. */
    return find(queue, mine) == NULL ? 0 : -ESHUTDOWN;
}

int
troupe__queue_party_close(struct troupe__thread *self, troupe_queue *queue)
{
    struct troupe__member_ref member = member_of(self);
    uint64_t mine = cell_make(TROUPE__PARTY_CLOSED, member);
    uint32_t before = troupe__load_relaxed(&queue->flags);
    uint64_t *cell;
    int status = lock(self, queue, TROUPE_FOREVER);

    if (status < 0)
        return status;
    if (find(queue, mine) == NULL) {
        cell = cell_new(self, queue);
        if (cell == NULL) {
            unlock(self, queue);
            return -ENOMEM;
        }
        troupe__store_release(cell, mine);
    }
    (void)troupe__fetch_or_seq_cst(
        &queue->flags, TROUPE__QUEUE_CLOSED | TROUPE__QUEUE_HAS_PARTIES);
    sides_leave(queue, member);
    unlock(self, queue);
    wake_if_gone(queue, before);
    return 0;
}

bool
troupe__queue_party_died(struct troupe__thread *self, troupe_queue *queue,
                         struct troupe__member_ref member)
{
    uint64_t mine = cell_make(TROUPE__PARTY_CLOSED, member);
    uint32_t before = troupe__load_relaxed(&queue->flags);
    uint64_t *cell;

    if ((before & TROUPE__QUEUE_HAS_PARTIES) == 0)
        return true;
    if (lock(self, queue, troupe_after_ns(TROUPE__LOCK_BOUND)) < 0)
        return false;
    cell = find(queue, mine);
    if (cell != NULL)
        troupe__store_release(cell, UINT64_C(0));
    sides_leave(queue, member);
    unlock(self, queue);
    wake_if_gone(queue, before);
    return true;
}

void
troupe__queue_parties_settle(troupe_queue *queue, uint32_t owner)
{
    struct troupe__parties *table = &queue->parties;
    unsigned left = TABLES;

    while (left-- != 0 && (table = table_next(table)) != NULL)
        (void)troupe__block_pass(table, owner, troupe__owner_held(queue));
}

void
troupe__queue_parties_free(struct troupe__thread *self, troupe_queue *queue)
{
    uint32_t mine = troupe__owner_held(queue);
    struct troupe__parties *before;
    struct troupe__parties *table;

    /* From the end of the list, so that no death cuts off what is behind. One
     * that is not the queue's any more was freed by somebody who died before
     * taking it out; whatever stands in it is not the list's. */
    do {
        unsigned left = TABLES;

        before = &queue->parties;
        while ((table = table_next(before)) != NULL && left-- != 0 &&
               troupe__block_owner(table) == mine &&
               troupe__load_acquire(&table->next) != 0)
            before = table;
        if (table != NULL)
            (void)troupe__block_free(self, table, mine);
        troupe__store_release(&before->next, UINT64_C(0));
    } while (before != &queue->parties);
}

int
troupe__queue_declare(troupe_queue *queue, int side,
                      struct troupe__member_ref member)
{
    struct troupe__thread *self;
    uint64_t *cell;
    uint64_t mine;
    uint32_t flags;
    int status;

    if (side != TROUPE_QUEUE_PUT && side != TROUPE_QUEUE_GET)
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    status = lock(self, queue, TROUPE_FOREVER);
    if (status < 0)
        return status;
    mine = cell_make(side_kind((unsigned)side), member);
    flags = troupe__load_acquire(&queue->flags);
    if (find(queue, cell_make(TROUPE__PARTY_CLOSED, member)) != NULL ||
        (side == TROUPE_QUEUE_PUT && (flags & TROUPE__QUEUE_SHUTDOWN) != 0)) {
        status = -ESHUTDOWN;
    } else if (flags & side_gone((unsigned)side)) {
        status = -EPIPE;
    } else if (find(queue, mine) == NULL) {
        (void)troupe__fetch_or_seq_cst(&queue->flags,
                                       TROUPE__QUEUE_HAS_PARTIES);
        /* Before the cell: killed in between, a look finds nobody. */
        if (side == TROUPE_QUEUE_GET &&
            troupe__load_relaxed(&queue->consumer) == 0)
            consumer_set(queue, TROUPE__QUEUE_LOOK);
        cell = cell_new(self, queue);
        if (cell == NULL)
            status = -ENOMEM;
        else
            troupe__store_release(cell, mine);
    }
    if (status == 0)
        (void)all_came(queue, (unsigned)side);
    unlock(self, queue);
    return status;
}

void
troupe__queue_undeclare(troupe_queue *queue, int side,
                        struct troupe__member_ref member)
{
    struct troupe__thread *self;
    uint64_t watch = 0;
    bool dying = false;
    uint32_t before;
    uint64_t *cell;
    int status;

    if (!troupe__queue_valid(queue) ||
        (side != TROUPE_QUEUE_PUT && side != TROUPE_QUEUE_GET))
        return;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return;
    /* Has to be done, whoever wants what. */
    (void)troupe__mutex_acquire(self, &queue->party_lock, TROUPE_FOREVER, NULL);
    before = troupe__load_relaxed(&queue->flags);
    cell = find(queue, cell_make(side_kind((unsigned)side), member));
    if (cell != NULL) {
        /* It may have been the one that completed the number. Killed in
         * between, the next look counts again. */
        (void)troupe__fetch_and_seq_cst(&queue->flags,
                                        ~side_came((unsigned)side));
        troupe__store_release(cell, UINT64_C(0));
        (void)all_came(queue, (unsigned)side);
        /* All others may have left meanwhile. */
        side_look(queue, (unsigned)side, &watch, &dying);
    }
    unlock(self, queue);
    wake_if_gone(queue, before);
}

static int
attach(troupe_queue *queue, int side)
{
    struct troupe__thread *self;
    int status;

    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    return troupe__queue_declare(queue, side, member_of(self));
}

int
troupe_queue_attach_producer(troupe_queue *queue)
{
    return attach(queue, TROUPE_QUEUE_PUT);
}

int
troupe_queue_attach_consumer(troupe_queue *queue)
{
    return attach(queue, TROUPE_QUEUE_GET);
}
