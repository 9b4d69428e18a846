/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting. While no message is leased a get is one store of the head. From the
 * first lease on until the head has caught up there is a window of records
 * behind the head, up to the limit, each of which may be leased, or DONE, or
 * has come back; before the cursor none is READY. There a get commits by making
 * its record DONE, and the head follows over those at the front.
 *
 * A payload in a block of its own goes to the consumer in this order:
 *
 *     step                           killed after it, the message is
 *     entry in the thread's list,
 *     pending = place, block         where it was
 *     head, or DONE                  taken by the dead; who takes the lock next
 *                                    frees the block that pending names
 *     owner word: queue -> thread    taken; freed with the thread
 *     pending = 0
 *
 * From before the commit until it returns, the thread's slot says what is being
 * delivered to it, so that messages which die with it are counted.
 */
#include "ipc/queue.h"

#include "heap/slot.h"
#include "ipc/queue_wait.h"

#include <errno.h>
#include <string.h>

/* What one hold of the lock copies at most in get_many. */
#define BATCH_ITEMS 64u
#define BATCH_BYTES 65536u

struct request {
    void *buffer;
    size_t room;
    bool peek;
    /* Answers. */
    size_t size;
    void *data;                    /* of a lease */
    struct troupe__payload *block; /* taken, to be copied from and freed */
};

/* Brings the side into order from head, tail and the records alone; the caller
 * holds it. Takes back what dead threads were about to take. */
static void repair(struct troupe__thread *self, troupe_queue *queue);

static TROUPE__INLINE int
enter_until(struct troupe__thread *self, troupe_queue *queue,
            troupe_deadline deadline, unsigned ends)
{
    uint64_t dead = 0;
    int status = troupe__queue_enter(
        self, queue, &queue->get.lock, &queue->get.owner,
        troupe__queue_single_get(queue), deadline, ends, &dead);

    if (TROUPE__UNLIKELY(status == 1)) {
        repair(self, queue);
        status = 0;
    }
    return status;
}

static inline int
enter(struct troupe__thread *self, troupe_queue *queue,
      troupe_deadline deadline)
{
    return enter_until(self, queue, deadline,
                       TROUPE__QUEUE_STOPS | TROUPE__QUEUE_CLOSES);
}

bool
troupe__queue_get_visit(struct troupe__thread *self, troupe_queue *queue,
                        uint64_t leaving)
{
    uint64_t dead = 0;
    int status =
        troupe__queue_visit(self, &queue->get.lock, &queue->get.owner,
                            troupe__queue_single_get(queue), leaving, &dead);

    if (status == 1)
        repair(self, queue);
    return status >= 0;
}

static inline void
leave(struct troupe__thread *self, troupe_queue *queue)
{
    troupe__queue_leave(self, &queue->get.lock,
                        troupe__queue_single_get(queue));
}

bool
troupe__queue_taken(const troupe_queue *queue, uint64_t place)
{
    uint32_t position = troupe__place_position(place);
    uint64_t ctl;

    if (position >= troupe__queue_ring_size(queue))
        return true;
    /* The record before the head: once the head has passed it, it may be
     * anything. */
    ctl = troupe__load_acquire(&troupe__queue_record(queue, position)->ctl);
    return troupe__place_passed(place,
                                troupe__load_acquire(&queue->get.head)) ||
           (ctl & TROUPE__RECORD_STATE) == TROUPE__RECORD_DONE;
}

/* The commit outside of a window. */
static inline void
store_head(troupe_queue *queue, uint64_t head)
{
    /* release: pairs with the acquire of the head in putting; what was read
     * from the record was read before it may be overwritten. */
    if (troupe__queue_single_get(queue))
        troupe__store_seq_cst(&queue->get.head, head);
    else
        troupe__store_release(&queue->get.head, head);
}

/* Moves the head over what is DONE; the caller holds the side. */
static void
follow(troupe_queue *queue)
{
    uint64_t head = queue->get.head;
    uint64_t at = head;
    uint32_t left = queue->get.limit - troupe__place_number(head);
    struct troupe__found found;

    if (left > troupe__queue_ring_size(queue))
        return; /* damaged */
    for (; left > 0; left--) {
        if (troupe__queue_read(queue, at, queue->get.seen, &found) < 0 ||
            (found.ctl & TROUPE__RECORD_STATE) != TROUPE__RECORD_DONE)
            break;
        at = found.next;
    }
    if (troupe__place_passed(queue->get.cursor, at))
        troupe__store_relaxed(&queue->get.cursor, at);
    if (at != head)
        store_head(queue, at);
    if (troupe__place_number(at) == queue->get.limit)
        troupe__store_relaxed(&queue->get.window, 0u);
}

/* The record before `next` is about to be changed: it is in the window. */
static void
window_include(troupe_queue *queue, uint64_t next)
{
    uint32_t number = troupe__place_number(next);

    if (queue->get.window == 0 || (int32_t)(number - queue->get.limit) > 0)
        queue->get.limit = number;
    troupe__store_relaxed(&queue->get.cursor, next);
    troupe__store_release(&queue->get.window, 1u);
}

/* Looks at the tail anew. */
static inline uint64_t
see_tail(troupe_queue *queue)
{
    uint64_t tail;

    /* Pairs with the exchange that frees the put lock, see sync/eventword.h. */
    (void)troupe__load_seq_cst(&queue->put.lock.word);
    tail = troupe__queue_tail(queue, troupe__load_seq_cst(&queue->put.tail));
    troupe__store_relaxed(&queue->get.seen, tail);
    return tail;
}

/* Puts the cursor back to the head, and on to the first message that is there
 * to get, or comes back from the dead: those before it are not to be counted.
 * The caller holds the side. */
static void
cursor_reset(troupe_queue *queue)
{
    uint64_t at = queue->get.head;
    uint32_t left = queue->get.limit - troupe__place_number(at);
    struct troupe__found found;

    if (left > troupe__queue_ring_size(queue))
        left = 0; /* damaged */
    for (; left > 0; left--) {
        uint64_t state;

        if (troupe__queue_read(queue, at, queue->get.seen, &found) < 0)
            break;
        state = found.ctl & TROUPE__RECORD_STATE;
        if (state == TROUPE__RECORD_READY ||
            (state == TROUPE__RECORD_LEASED &&
             troupe__tag_dead(found.ctl & TROUPE__RECORD_TAG)))
            break;
        at = found.next;
    }
    troupe__store_relaxed(&queue->get.cursor, at);
}

/* Frees the block of a message that was taken, whose consumer died before the
 * block was its own. Not one at the same address that has been put since: the
 * dead one's recovery may have been here first. */
static void
pending_free(struct troupe__thread *self, troupe_queue *queue, uint32_t record)
{
    struct troupe__payload *block = troupe__block_at(record);
    uint32_t mine = troupe__owner_held(queue);
    uint64_t place = queue->get.pending_place;

    if (troupe__queue_taken(queue, place) &&
        troupe__block_owner(block) == mine &&
        troupe__block_size(block) >= sizeof(*block) &&
        block->magic == TROUPE__PAYLOAD_MAGIC && block->place == place)
        (void)troupe__block_free(self, block, mine);
}

/*
 * Deliveries that did not happen are taken back now, before somebody else takes
 * the message; one that did stays for its slot's recovery. They are of dead
 * threads, perhaps of several that died one after the other with the side: a
 * living one would need it.
 */
static void
deliveries_take_back(troupe_queue *queue)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);
        uint64_t offset = troupe__family_offset(queue);

        if (troupe__load_acquire(&slot->queue) == offset &&
            !troupe__queue_taken(queue,
                                 troupe__load_relaxed(&slot->queue_head)))
            (void)troupe__cas_seq_cst(&slot->queue, &offset, UINT64_C(0));
    }
}

static void
repair(struct troupe__thread *self, troupe_queue *queue)
{
    uint32_t pending = queue->get.pending;

    if (pending != 0) {
        pending_free(self, queue, pending);
        troupe__store_release(&queue->get.pending, 0u);
    }
    deliveries_take_back(queue);
    /* Everything else again from the head on. */
    queue->get.limit = troupe__place_number(see_tail(queue));
    cursor_reset(queue);
    troupe__store_release(&queue->get.window, 1u);
}

/* Makes a leased record READY again, one attempt later. */
static bool
give_back(troupe_queue *queue, struct troupe__record *record, uint64_t ctl)
{
    uint64_t ready = ctl & (TROUPE__RECORD_ATTEMPTS | TROUPE__RECORD_BLOCK);

    if ((ready & TROUPE__RECORD_ATTEMPTS) != TROUPE__RECORD_ATTEMPTS)
        ready += TROUPE__RECORD_ATTEMPT;
    if (!troupe__cas_seq_cst(&record->ctl, &ctl, ready))
        return false;
    (void)troupe__fetch_add_relaxed(&queue->redelivered, UINT64_C(1));
    return true;
}

unsigned
troupe__queue_reap(troupe_queue *queue, uint64_t leaving, uint64_t *lessees,
                   unsigned room, unsigned *ret_lessees)
{
    uint64_t at = queue->get.head;
    uint64_t tail = see_tail(queue);
    uint32_t left = queue->get.limit - troupe__place_number(at);
    struct troupe__found found;
    unsigned returned = 0;

    *ret_lessees = 0;
    if (queue->get.window == 0 || left > troupe__queue_ring_size(queue))
        return 0;
    for (; left > 0; left--, at = found.next) {
        uint64_t tag;

        if (troupe__queue_read(queue, at, tail, &found) < 0)
            break;
        if ((found.ctl & TROUPE__RECORD_STATE) != TROUPE__RECORD_LEASED)
            continue;
        tag = found.ctl & TROUPE__RECORD_TAG;
        if (tag == leaving || troupe__tag_dead(tag)) {
            if (give_back(queue, found.record, found.ctl))
                returned++;
        } else if (*ret_lessees < room) {
            lessees[(*ret_lessees)++] = tag;
        }
    }
    if (returned > 0)
        cursor_reset(queue);
    return returned;
}

/*
 * The first message that nobody has taken or leased. 0; -EAGAIN: none;
 * -EBADMSG. The caller holds the side.
 */
static int
find_next(troupe_queue *queue, struct troupe__found *found)
{
    uint64_t tail = troupe__load_relaxed(&queue->get.seen);
    uint32_t window = queue->get.window;
    uint64_t at = queue->get.head;
    uint32_t left;

    if (TROUPE__UNLIKELY(window != 0)) {
        if (troupe__load_relaxed(&queue->get.rescan) != 0) {
            troupe__store_relaxed(&queue->get.rescan, 0u);
            troupe__store_relaxed(&queue->get.cursor, at);
        }
        at = queue->get.cursor;
    }
    if (troupe__place_between(at, tail) == 0) {
        tail = see_tail(queue);
        if (troupe__place_between(at, tail) == 0) {
            if (window != 0)
                follow(queue);
            return -EAGAIN;
        }
    }
    if (TROUPE__LIKELY(window == 0)) {
        if (TROUPE__UNLIKELY(troupe__queue_read(queue, at, tail, found) < 0))
            return -EBADMSG;
        if (TROUPE__LIKELY((found->ctl & TROUPE__RECORD_STATE) ==
                           TROUPE__RECORD_READY))
            return 0;
        /* Only damage brings us here. */
        return -EBADMSG;
    }
    left = troupe__queue_ring_size(queue);
    for (;;) {
        if (troupe__queue_read(queue, at, tail, found) < 0 || left-- == 0)
            return -EBADMSG;
        if ((found->ctl & TROUPE__RECORD_STATE) == TROUPE__RECORD_LEASED &&
            troupe__tag_dead(found->ctl & TROUPE__RECORD_TAG) &&
            give_back(queue, found->record, found->ctl))
            found->ctl = troupe__load_relaxed(&found->record->ctl);
        if ((found->ctl & TROUPE__RECORD_STATE) == TROUPE__RECORD_READY)
            return 0;
        at = found->next;
        troupe__store_relaxed(&queue->get.cursor, at);
        if (troupe__place_between(at, tail) == 0) {
            follow(queue);
            tail = see_tail(queue);
            if (troupe__place_between(at, tail) == 0)
                return -EAGAIN;
        }
    }
}

/* Whether there is a small message at the head and nothing else to think of,
 * as nearly always. */
static TROUPE__INLINE bool
first_ready(troupe_queue *queue, struct troupe__found *found)
{
    uint64_t at = queue->get.head;
    uint64_t tail = troupe__load_relaxed(&queue->get.seen);
    uint32_t position = troupe__place_position(at);
    uint32_t end = troupe__place_position(tail);
    uint32_t ring = troupe__queue_ring_size(queue);
    struct troupe__record *record;
    uint32_t cells;

    if (TROUPE__UNLIKELY(troupe__place_between(at, tail) == 0 ||
                         queue->get.window != 0 || position >= ring ||
                         end >= ring))
        return false;
    record = troupe__queue_record(queue, position);
    found->ctl = troupe__load_acquire(&record->ctl);
    found->size = troupe__load_relaxed(&record->size);
    cells = 1 + troupe__queue_cells(found->size);
    if (TROUPE__UNLIKELY(
            (found->ctl & ~TROUPE__RECORD_ATTEMPTS) != TROUPE__RECORD_READY ||
            found->size > TROUPE_QUEUE_SMALL ||
            cells > (position < end ? end - position : ring - position)))
        return false;
    found->record = record;
    found->place = at;
    position += cells;
    if (position == ring)
        position = 0;
    found->next = troupe__place_make(position, troupe__place_number(at) + 1);
    return true;
}

/* Says in the slot what is about to be delivered to the thread. */
static inline void
delivery_begin(struct troupe__thread *self, const troupe_queue *queue,
               uint64_t first, uint32_t items)
{
    struct troupe__slot *slot = self->slot;

    troupe__store_relaxed(&slot->queue_items, items);
    troupe__store_relaxed(&slot->queue_head, first);
    /* release: recovery that finds the queue finds the rest. */
    troupe__store_release(&slot->queue, troupe__family_offset(queue));
}

static inline void
delivery_end(struct troupe__thread *self)
{
    troupe__store_release(&self->slot->queue, UINT64_C(0));
}

/* The commit: the message is out of the queue. */
static inline void
take(troupe_queue *queue, const struct troupe__found *found)
{
    uint64_t ctl = found->ctl;

    if (TROUPE__LIKELY(queue->get.window == 0)) {
        store_head(queue, found->next);
        return;
    }
    window_include(queue, found->next);
    (void)troupe__cas_seq_cst(&found->record->ctl, &ctl,
                              TROUPE__RECORD_DONE |
                                  (ctl & TROUPE__RECORD_BLOCK));
    follow(queue);
}

/* The block of a record, if it is one in order. */
static struct troupe__payload *
found_block(const troupe_queue *queue, const struct troupe__found *found)
{
    struct troupe__payload *block = troupe__block_at(found->block);
    size_t size = troupe__block_size(block);

    return troupe__block_owner(block) == troupe__owner_held(queue) &&
                   size >= sizeof(*block) &&
                   found->size <= size - sizeof(*block)
               ? block
               : NULL;
}

/* Prepares the calling thread to receive a block of the queue. */
static int
block_expect(struct troupe__thread *self, troupe_queue *queue,
             const struct troupe__found *found,
             const struct troupe__payload *block)
{
    uint32_t *held = troupe__block_held_entry(self, block);

    if (held == NULL)
        return -ENOMEM;
    troupe__store_release(held, found->block);
    troupe__store_relaxed(&queue->get.pending_place, found->place);
    troupe__store_release(&queue->get.pending, found->block);
    return 0;
}

static void
block_receive(struct troupe__thread *self, troupe_queue *queue,
              struct troupe__payload *block)
{
    (void)troupe__block_pass(block, troupe__owner_held(queue),
                             troupe__owner_held(self->slot));
    troupe__store_release(&queue->get.pending, 0u);
}

/* Leases the message to the calling thread. */
static int
lease(struct troupe__thread *self, troupe_queue *queue,
      const struct troupe__found *found, struct request *request)
{
    uint64_t ctl = found->ctl;
    struct troupe__payload *block;

    request->size = found->size;
    request->data = found->record + 1;
    if (found->block != 0) {
        block = found_block(queue, found);
        if (block == NULL)
            return -EBADMSG;
        request->data = block + 1;
    }
    /* The window before the lease: a record in it that is still READY is found
     * by whoever repairs after our death. */
    window_include(queue, found->next);
    return troupe__cas_seq_cst(
               &found->record->ctl, &ctl,
               (ctl & (TROUPE__RECORD_ATTEMPTS | TROUPE__RECORD_BLOCK)) |
                   TROUPE__RECORD_LEASED | self->tag)
               ? 0
               : -EBADMSG;
}

/* One try of any kind; the caller holds the side. */
static int
attempt_any(struct troupe__thread *self, troupe_queue *queue,
            struct request *request)
{
    struct troupe__payload *block;
    struct troupe__found found;
    int status = find_next(queue, &found);

    if (status < 0)
        return status;
    if (request->peek)
        return lease(self, queue, &found, request);
    request->size = found.size;
    if (found.block == 0) {
        if (found.size > request->room)
            return -EMSGSIZE;
        delivery_begin(self, queue, found.place, 1);
        troupe__queue_copy(request->buffer, found.record + 1, found.size);
        take(queue, &found);
        return 0;
    }
    block = found_block(queue, &found);
    if (block == NULL)
        return -EBADMSG;
    if (found.size > request->room)
        return -EMSGSIZE;
    status = block_expect(self, queue, &found, block);
    if (status < 0)
        return status;
    delivery_begin(self, queue, found.place, 1);
    take(queue, &found);
    block_receive(self, queue, block);
    request->block = block;
    return 0;
}

/* One try. 0; -EAGAIN: empty; or why not. */
static TROUPE__INLINE int
attempt_inline(struct troupe__thread *self, troupe_queue *queue,
               struct request *request, troupe_deadline deadline)
{
    struct troupe__found found;
    int status = enter(self, queue, deadline);

    if (TROUPE__UNLIKELY(status < 0))
        return status;
    /* seq_cst: a sleeper that has prepared sees what was told before, see
     * sync/eventword.h. */
    if (TROUPE__UNLIKELY(troupe__load_seq_cst(&queue->flags) &
                         TROUPE__QUEUE_CLOSED)) {
        status = troupe__queue_closed(self, queue);
        if (status < 0)
            goto out;
    }
    if (TROUPE__LIKELY(first_ready(queue, &found) && !request->peek &&
                       found.size <= request->room)) {
        delivery_begin(self, queue, found.place, 1);
        troupe__queue_copy(request->buffer, found.record + 1, found.size);
        request->size = found.size;
        store_head(queue, found.next);
    } else {
        /* A copy: the address of the request itself stays unknown, so that it
         * lives in registers on the way that matters. */
        struct request any = *request;

        status = attempt_any(self, queue, &any);
        *request = any;
    }
out:
    leave(self, queue);
    return status;
}

static int
attempt(struct troupe__thread *self, troupe_queue *queue,
        struct request *request, troupe_deadline deadline)
{
    return attempt_inline(self, queue, request, deadline);
}

/* What a getter that found nothing looks at, and learns. */
struct outlook {
    /* Nobody puts any more: what a try after this does not find, will not come,
     * but for what is leased. */
    bool ended;
    bool dying;
    unsigned owner_count;
    uint64_t *owners; /* room for TROUPE__WAIT_OWNERS */
};

/* Nobody puts any more, or has already: one more look tells whether there is
 * something. False: not now. */
static bool
puts_end(struct troupe__thread *self, troupe_queue *queue)
{
    if (troupe__queue_single_put(queue)) {
        /* The word of the commit decides; which waits for nobody. */
        (void)troupe__fetch_or_seq_cst(&queue->put.tail, TROUPE__QUEUE_END);
        return true;
    }
    /* Whoever was inside a put when the flag was set has finished when we have
     * had the lock. */
    if (!troupe__queue_put_visit(self, queue, 0))
        return false;
    troupe__mutex_release(self, &queue->put.lock);
    return true;
}

/* Brings back the leases of the dead; others' are what to wait for. How many
 * came back; -EAGAIN: not now. */
static int
leases_look(struct troupe__thread *self, troupe_queue *queue,
            struct outlook *outlook)
{
    unsigned returned;

    if (enter(self, queue, TROUPE_NOW) < 0)
        return -EAGAIN;
    returned =
        troupe__queue_reap(queue, 0, outlook->owners, TROUPE__WAIT_OWNERS - 1,
                           &outlook->owner_count);
    leave(self, queue);
    if (returned > 0)
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, returned);
    return (int)returned;
}

/* Whether to wait at the end of the stream for messages that others lease: they
 * may come back. Not who leases one itself: two such would wait for each
 * other. */
static bool
leases_hold(const struct troupe__thread *self, const struct outlook *outlook)
{
    unsigned i;

    for (i = 0; i < outlook->owner_count; i++)
        if (outlook->owners[i] == self->tag)
            return false;
    return outlook->owner_count > 0;
}

/* A try has found the queue empty: looks whether that stays so. 0: try again;
 * -EAGAIN; -EPIPE: it does. */
static int
empty_look(struct troupe__thread *self, troupe_queue *queue,
           struct outlook *outlook)
{
    uint64_t watch = 0;
    uint32_t flags;
    int returned;

    outlook->dying = false;
    outlook->owner_count = 0;
    if (troupe__load_acquire(&queue->get.window) != 0) {
        returned = leases_look(self, queue, outlook);
        if (returned != 0)
            return returned < 0 ? returned : 0;
    }
    if (outlook->ended)
        return leases_hold(self, outlook) ? -EAGAIN : -EPIPE;
    flags = troupe__load_acquire(&queue->flags);
    if ((flags & TROUPE__QUEUE_HAS_PARTIES) != 0 &&
        (flags & TROUPE__QUEUE_PRODUCERS_GONE) == 0) {
        troupe__queue_parties_look(self, queue, TROUPE_QUEUE_PUT, &watch,
                                   &outlook->dying);
        if (watch != 0)
            outlook->owners[outlook->owner_count++] = watch;
        flags = troupe__load_acquire(&queue->flags);
    }
    if ((flags & TROUPE__QUEUE_ENDS) == 0 || !puts_end(self, queue))
        return -EAGAIN;
    outlook->ended = true;
    return 0;
}

/* Tries after one that has found the queue empty. */
static int
get_now(struct troupe__thread *self, troupe_queue *queue,
        struct request *request)
{
    uint64_t owners[TROUPE__WAIT_OWNERS];
    struct outlook outlook = {.owners = owners};
    int status;
    int look;

    do {
        look = empty_look(self, queue, &outlook);
        if (look == -EPIPE)
            return look;
        status = attempt(self, queue, request, TROUPE_NOW);
    } while (status == -EAGAIN && look == 0);
    return status;
}

static TROUPE__COLD int
get_wait(struct troupe__thread *self, troupe_queue *queue,
         struct request *request, troupe_deadline deadline)
{
    struct troupe__eventword *event = &queue->side[TROUPE_QUEUE_GET].event;
    uint64_t *pollers = &queue->side[TROUPE_QUEUE_GET].pollers;
    struct troupe__queue_look look;
    struct troupe__queue_wait wait;
    struct outlook outlook = {.owners = wait.owners};
    bool others;
    int status;

    if (deadline == TROUPE_NOW) {
        status = get_now(self, queue, request);
        if (status == -EAGAIN && troupe__doorbell_looked(self, pollers)) {
            status = get_now(self, queue, request);
            if (status != -EAGAIN)
                troupe__doorbell_again(self, pollers);
        }
        return status;
    }
    troupe__queue_look_begin(&look, self, deadline);
    while ((troupe__load_relaxed(&queue->flags) & TROUPE__QUEUE_ENDS) == 0 &&
           troupe__queue_look(&look, &queue->put.tail, &queue->get.seen)) {
        status = attempt(self, queue, request, deadline);
        if (status != -EAGAIN)
            return status;
    }
    troupe__queue_wait_begin(&wait, self, queue, TROUPE_QUEUE_GET, deadline);
    for (;;) {
        uint32_t seen = troupe__eventword_prepare(event);

        status = attempt(self, queue, request, deadline);
        if (status != -EAGAIN)
            break;
        status = empty_look(self, queue, &outlook);
        if (status == 0)
            continue;
        if (status == -EPIPE)
            break;
        wait.owner_count = outlook.owner_count;
        wait.dying = outlook.dying;
        status = troupe__queue_wait_sleep(&wait, seen);
        if (status < 0)
            break;
    }
    others = troupe__queue_wait_end(&wait);
    if (others && (status == -EPIPE || !troupe_queue_empty(queue)))
        troupe__eventword_signal(event, 1);
    return status;
}

/* After a message was taken: from its block, if it has one. */
static TROUPE__COLD void
receive(struct troupe__thread *self, const struct request *request)
{
    memcpy(request->buffer, request->block + 1, request->size);
    (void)troupe__block_free(self, request->block,
                             troupe__owner_held(self->slot));
}

int
troupe_queue_get(troupe_queue *queue, void *buffer, size_t *size,
                 troupe_deadline deadline)
{
    struct request request = {buffer, 0, false, 0, NULL, NULL};
    struct troupe__thread *self;
    int status;

    if (TROUPE__UNLIKELY(!troupe__queue_valid(queue) || size == NULL ||
                         (buffer == NULL && *size != 0)))
        return -EINVAL;
    self = troupe__thread_enter(&status);
    if (TROUPE__UNLIKELY(self == NULL))
        return status;
    request.room = *size;
    status = attempt_inline(self, queue, &request, deadline);
    if (TROUPE__UNLIKELY(status == -EAGAIN)) {
        struct request waiting = request;

        status = get_wait(self, queue, &waiting, deadline);
        request = waiting;
    }
    if (TROUPE__UNLIKELY(status < 0)) {
        if (status == -EMSGSIZE)
            *size = request.size;
        return status;
    }
    *size = request.size;
    troupe__queue_signal(queue, TROUPE_QUEUE_PUT, 1);
    if (TROUPE__UNLIKELY(request.block != NULL)) {
        struct request large = request;

        receive(self, &large);
    }
    delivery_end(self);
    return 0;
}

/* Takes small messages in one go, one after the other. *ret_count may stay 0:
 * then it takes a look at each one. */
static int
attempt_many(struct troupe__thread *self, troupe_queue *queue,
             struct iovec *items, size_t count, size_t *ret_count,
             troupe_deadline deadline)
{
    uint64_t first = 0;
    uint64_t head;
    size_t bytes = 0;
    uint32_t i = 0;
    int status = enter(self, queue, deadline);

    *ret_count = 0;
    if (status < 0)
        return status;
    if ((troupe__load_relaxed(&queue->flags) & TROUPE__QUEUE_CLOSED) != 0 ||
        queue->get.window != 0)
        goto out;
    head = queue->get.head;
    for (; i < count && i < BATCH_ITEMS && bytes < BATCH_BYTES; i++) {
        uint64_t tail = troupe__load_relaxed(&queue->get.seen);
        struct troupe__found found;

        if (troupe__place_between(head, tail) == 0) {
            tail = see_tail(queue);
            if (troupe__place_between(head, tail) == 0)
                break;
        }
        if (troupe__queue_read(queue, head, tail, &found) < 0 ||
            (found.ctl & TROUPE__RECORD_STATE) != TROUPE__RECORD_READY ||
            found.block != 0 || found.size > items[i].iov_len ||
            (items[i].iov_base == NULL && items[i].iov_len != 0))
            break;
        if (found.size != 0)
            memcpy(items[i].iov_base, found.record + 1, found.size);
        items[i].iov_len = found.size;
        if (i == 0)
            first = found.place;
        head = found.next;
        bytes += found.size;
    }
    if (i > 0) {
        delivery_begin(self, queue, first, i);
        store_head(queue, head);
    }
out:
    leave(self, queue);
    *ret_count = i;
    return 0;
}

int
troupe_queue_get_many(troupe_queue *queue, struct iovec *items, size_t count,
                      size_t *ret_count, troupe_deadline deadline)
{
    struct troupe__thread *self;
    size_t done = 0;
    int status = 0;

    if (ret_count == NULL || (items == NULL && count != 0))
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    *ret_count = 0;
    while (done < count) {
        size_t more;

        status = attempt_many(self, queue, items + done, count - done, &more,
                              done == 0 ? deadline : TROUPE_NOW);
        if (more > 0) {
            troupe__queue_signal(queue, TROUPE_QUEUE_PUT, (uint32_t)more);
            delivery_end(self);
        } else if (status == 0 || status == -EAGAIN) {
            /* Large, in a window, or none there. */
            size_t size = items[done].iov_len;

            status = troupe_queue_get(queue, items[done].iov_base, &size,
                                      done == 0 ? deadline : TROUPE_NOW);
            if (status == 0 || (status == -EMSGSIZE && done == 0))
                items[done].iov_len = size;
            more = status == 0;
        }
        if (more == 0)
            break;
        done += more;
    }
    *ret_count = done;
    return done > 0 ? 0 : status;
}

int
troupe_queue_peek(troupe_queue *queue, void **ret_data, size_t *ret_size,
                  troupe_deadline deadline)
{
    struct request request = {NULL, 0, true, 0, NULL, NULL};
    struct troupe__thread *self;
    int status;

    if (ret_data == NULL || ret_size == NULL)
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    status = attempt(self, queue, &request, deadline);
    if (status == -EAGAIN)
        status = get_wait(self, queue, &request, deadline);
    if (status == 0) {
        *ret_data = request.data;
        *ret_size = request.size;
    }
    return status;
}

/* The record of a message leased to the calling thread at `data`, and its
 * block if it has one; NULL: there is none. */
static struct troupe__record *
leased_record(struct troupe__thread *self, const troupe_queue *queue,
              const void *data, struct troupe__payload **ret_block)
{
    uintptr_t ring = (uintptr_t)troupe__queue_record(queue, 0);
    uintptr_t address = (uintptr_t)data - TROUPE__CELL;
    struct troupe__payload *block = NULL;
    struct troupe__record *record;
    uint32_t position;
    uint64_t ctl;

    if (data == NULL || (address & (TROUPE__CELL - 1)) != 0)
        return NULL;
    if (address >= ring &&
        address - ring <
            (uint64_t)troupe__queue_ring_size(queue) * TROUPE__CELL) {
        position = (uint32_t)((address - ring) / TROUPE__CELL);
    } else {
        block = (struct troupe__payload *)(uintptr_t)data - 1;
        if (troupe__block_owner(block) != troupe__owner_held(queue) ||
            block->magic != TROUPE__PAYLOAD_MAGIC)
            return NULL;
        position = troupe__place_position(block->place);
        if (position >= troupe__queue_ring_size(queue))
            return NULL;
    }
    record = troupe__queue_record(queue, position);
    ctl = troupe__load_acquire(&record->ctl);
    if ((ctl & TROUPE__RECORD_STATE) != TROUPE__RECORD_LEASED ||
        (ctl & TROUPE__RECORD_TAG) != self->tag ||
        ((ctl & TROUPE__RECORD_BLOCK) != 0) != (block != NULL))
        return NULL;
    *ret_block = block;
    return record;
}

int
troupe_queue_release(troupe_queue *queue, void *data)
{
    struct troupe__payload *block = NULL;
    struct troupe__record *record;
    struct troupe__thread *self;
    struct troupe__found found;
    uint64_t ctl;
    int status;

    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    record = leased_record(self, queue, data, &block);
    if (record == NULL)
        return -EINVAL;
    status = enter_until(self, queue, TROUPE_FOREVER, TROUPE__QUEUE_STOPS);
    if (status < 0)
        return status;
    ctl = troupe__load_relaxed(&record->ctl);
    if (block != NULL) {
        found.place = block->place;
        found.block = troupe__block_record(block);
        /* Without room in the thread's list a death in the next lines leaves
         * the block with the queue until that is freed. */
        (void)block_expect(self, queue, &found, block);
    }
    (void)troupe__cas_seq_cst(
        &record->ctl, &ctl, TROUPE__RECORD_DONE | (ctl & TROUPE__RECORD_BLOCK));
    if (block != NULL)
        block_receive(self, queue, block);
    follow(queue);
    leave(self, queue);
    troupe__queue_signal(queue, TROUPE_QUEUE_PUT, 1);
    /* At the end of the stream getters wait for leases. */
    if (troupe__load_acquire(&queue->flags) & TROUPE__QUEUE_ENDS)
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, UINT32_MAX);
    if (block != NULL)
        (void)troupe__block_free(self, block, troupe__owner_held(self->slot));
    return 0;
}

unsigned
troupe_queue_attempts(troupe_queue *queue, const void *data)
{
    struct troupe__payload *block = NULL;
    struct troupe__record *record;

    if (!troupe__queue_valid(queue) || troupe__thread_self->tag == 0)
        return 0;
    record = leased_record(troupe__thread_self, queue, data, &block);
    if (record == NULL)
        return 0;
    return (unsigned)((troupe__load_relaxed(&record->ctl) &
                       TROUPE__RECORD_ATTEMPTS) /
                      TROUPE__RECORD_ATTEMPT);
}

bool
troupe__queue_advance(struct troupe__thread *self, troupe_queue *queue)
{
    uint64_t before = troupe__load_acquire(&queue->get.head);

    if (troupe__load_relaxed(&queue->get.window) == 0 ||
        !troupe__queue_get_visit(self, queue, 0))
        return false;
    /* The cursor may have been put back to the head by a repair: over those
     * which are DONE it goes again. */
    if (queue->get.window != 0) {
        struct troupe__found found;

        (void)find_next(queue, &found);
        follow(queue);
    }
    troupe__mutex_release(self, &queue->get.lock);
    return troupe__load_acquire(&queue->get.head) != before;
}
