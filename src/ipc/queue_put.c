/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting. Everything a put writes lies behind the tail, where nobody looks,
 * until one store of the tail makes it a message. A payload in a block of its
 * own is the producer's until the put lock is held; then, in this order:
 *
 *     step                          killed after it, the block is
 *     pending = block, number       the producer's: freed with its thread
 *     owner word: thread -> queue   pending names it, tail does not include it:
 *                                   who takes the lock next frees it
 *     record, tail                  the message's
 *     pending = 0
 */
#include "ipc/queue.h"

#include "heap/slot.h"
#include "ipc/queue_wait.h"

#include <errno.h>
#include <string.h>

/* What one hold of the lock copies at most in put_many. */
#define BATCH_ITEMS 64u
#define BATCH_BYTES 65536u

/* One message to be put. */
struct item {
    const void *data;
    size_t size;
    struct troupe__payload *block; /* NULL: `data` is copied into the ring */
    uint32_t weight;
    uint32_t cells; /* 0: nothing is put, only looked whether it could be */
};

static int
item_weight(const troupe_queue *queue, size_t size, uint32_t *ret_weight)
{
    uint64_t weight = 1 + ((uint64_t)size + TROUPE__CELL - 1) / TROUPE__CELL;

    if (size > SIZE_MAX - TROUPE__CELL || weight > queue->max_weight)
        return -EMSGSIZE;
    *ret_weight = (uint32_t)weight;
    return 0;
}

/* Why nothing may be put, given that some of these flags are set. */
static TROUPE__COLD int
stopped(struct troupe__thread *self, troupe_queue *queue, uint32_t flags)
{
    if (flags & TROUPE__QUEUE_CLOSED) {
        int status = troupe__queue_closed(self, queue);

        if (status < 0)
            return status;
    }
    if (flags & TROUPE__QUEUE_ENDS)
        return -ESHUTDOWN;
    if (flags & TROUPE__QUEUE_CONSUMERS_GONE)
        return -EPIPE;
    return 0;
}

#define STOP_FLAGS \
 (TROUPE__QUEUE_CLOSED | TROUPE__QUEUE_ENDS | TROUPE__QUEUE_CONSUMERS_GONE)

/* Read by others for a hint. */
static inline void
weight_set(troupe_queue *queue, uint32_t weight)
{
    troupe__store_relaxed(&queue->put.weight, weight);
}

/* Whether the cached head leaves room; *ret_at is where the record goes. */
static TROUPE__INLINE bool
fits(const troupe_queue *queue, uint64_t tail, uint32_t queue_weight,
     uint32_t weight, uint32_t cells, uint32_t *ret_at)
{
    uint64_t seen = troupe__load_relaxed(&queue->put.seen);

    return troupe__place_between(seen, tail) < queue->max_items &&
           queue_weight + weight - queue->put.seen_weight <=
               queue->max_weight &&
           troupe__queue_ring_fits(queue, seen, tail, cells, ret_at);
}

/* Looks at the head anew. 0; -EAGAIN: it has not moved; -EBADMSG; -ESHUTDOWN:
 * the tail is the end. */
static int
refresh(troupe_queue *queue)
{
    uint64_t tail = queue->put.tail;
    uint32_t position;
    uint64_t head;
    uint32_t total;

    if (tail != troupe__queue_tail(queue, tail))
        return -ESHUTDOWN;
    /* Pairs with the exchange that frees the get lock, see sync/eventword.h:
     * a caller that has prepared to sleep sees the head that a getter stored
     * who did not see it prepared. */
    (void)troupe__load_seq_cst(&queue->get.lock.word);
    head = troupe__load_seq_cst(&queue->get.head);
    position = troupe__place_position(head);
    if (position >= troupe__queue_ring_size(queue) ||
        troupe__place_position(tail) >= troupe__queue_ring_size(queue) ||
        troupe__place_between(head, tail) > queue->max_items)
        return -EBADMSG;
    if (head == troupe__load_relaxed(&queue->put.seen))
        return -EAGAIN;
    total = troupe__place_number(tail) - (uint32_t)queue->put.total;
    troupe__store_relaxed(&queue->put.total, queue->put.total + total);
    if (troupe__place_between(head, tail) == 0) {
        queue->put.seen_weight = queue->put.weight;
    } else {
        /* Padding has the weight of what follows it. */
        uint32_t weight = troupe__load_relaxed(
            &troupe__queue_record(queue, position)->weight);

        if (queue->put.weight - weight > queue->max_weight)
            return -EBADMSG;
        queue->put.seen_weight = weight;
    }
    troupe__store_relaxed(&queue->put.seen, head);
    return 0;
}

static TROUPE__INLINE int
find_room(troupe_queue *queue, uint64_t tail, uint32_t queue_weight,
          uint32_t weight, uint32_t cells, uint32_t *ret_at)
{
    int status;

    if (TROUPE__LIKELY(fits(queue, tail, queue_weight, weight, cells, ret_at)))
        return 0;
    status = refresh(queue);
    if (status < 0)
        return status;
    return fits(queue, tail, queue_weight, weight, cells, ret_at) ? 0 : -EAGAIN;
}

/* Makes what lies between the tail and a record at the ring's start padding. */
static void
pad(troupe_queue *queue, uint64_t tail, uint32_t weight)
{
    struct troupe__record *record =
        troupe__queue_record(queue, troupe__place_position(tail));

    troupe__store_relaxed(&record->ctl, TROUPE__RECORD_PAD);
    record->size = 0;
    troupe__store_relaxed(&record->weight, weight);
}

/* Writes a record behind the tail and returns the tail that includes it. */
static TROUPE__INLINE uint64_t
write_record(troupe_queue *queue, uint64_t tail, uint32_t at,
             uint32_t queue_weight, const struct item *item)
{
    struct troupe__record *record = troupe__queue_record(queue, at);
    uint32_t next = at + item->cells;

    if (TROUPE__UNLIKELY(at != troupe__place_position(tail)))
        pad(queue, tail, queue_weight);
    troupe__store_relaxed(&record->weight, queue_weight);
    if (TROUPE__LIKELY(item->block == NULL)) {
        troupe__store_relaxed(&record->size, (uint32_t)item->size);
        troupe__store_relaxed(&record->ctl, TROUPE__RECORD_READY);
        troupe__queue_copy(record + 1, item->data, item->size);
    } else {
        struct troupe__record_block *block =
            (struct troupe__record_block *)(record + 1);

        troupe__store_relaxed(&record->size, 0u);
        troupe__store_relaxed(&record->ctl, TROUPE__RECORD_BLOCK);
        troupe__store_relaxed(&block->size, (uint64_t)item->size);
        troupe__store_relaxed(&block->block, troupe__block_record(item->block));
        block->reserved_ = 0;
    }
    if (next == troupe__queue_ring_size(queue))
        next = 0;
    return troupe__place_make(next, troupe__place_number(tail) + 1);
}

/* The commit. 0; -ESHUTDOWN: a consumer has seen the end at this tail. */
static inline int
store_tail(troupe_queue *queue, uint64_t tail, uint64_t next)
{
    /* release: pairs with the acquire of the tail in getting. Without a lock to
     * free it also has to be ordered before the look at the event word, and
     * decides between this put and a shutdown. */
    if (troupe__queue_single_put(queue))
        return troupe__cas_seq_cst(&queue->put.tail, &tail, next) ? 0
                                                                  : -ESHUTDOWN;
    troupe__store_release(&queue->put.tail, next);
    return 0;
}

/* Brings the side into order from head, tail and the records alone; the caller
 * holds it. */
static void
repair(struct troupe__thread *self, troupe_queue *queue)
{
    uint64_t tail =
        troupe__queue_tail(queue, troupe__load_acquire(&queue->put.tail));
    uint64_t head = troupe__load_acquire(&queue->get.head);
    uint64_t pending = queue->put.pending;
    uint64_t at = head;
    uint32_t left = troupe__place_between(head, tail);
    struct troupe__found found;

    if (pending != 0) {
        /* In the ring, if the tail has got to its number. */
        if ((int32_t)(troupe__place_number(tail) - (uint32_t)pending) < 0)
            (void)troupe__block_free(
                self, troupe__block_at((uint32_t)(pending >> 32)),
                troupe__owner_held(queue));
        troupe__store_release(&queue->put.pending, UINT64_C(0));
    }
    /* The weights from the records; of an empty queue any will do. */
    troupe__store_relaxed(&queue->put.seen, head);
    queue->put.seen_weight = queue->put.weight;
    if (left > troupe__queue_ring_size(queue))
        return; /* damaged: refresh() will say so */
    for (; left > 0; left--) {
        if (troupe__queue_read(queue, at, tail, &found) < 0)
            return;
        if (at == head)
            queue->put.seen_weight = found.record->weight;
        weight_set(queue, found.record->weight + found.weight);
        at = found.next;
    }
}

static inline int
enter(struct troupe__thread *self, troupe_queue *queue,
      troupe_deadline deadline)
{
    uint64_t dead = 0;
    int status =
        troupe__queue_enter(self, queue, &queue->put.lock, &queue->put.owner,
                            troupe__queue_single_put(queue), deadline,
                            TROUPE__QUEUE_STOPS | TROUPE__QUEUE_CLOSES, &dead);

    if (TROUPE__UNLIKELY(status == 1)) {
        repair(self, queue);
        status = 0;
    }
    return status;
}

bool
troupe__queue_put_visit(struct troupe__thread *self, troupe_queue *queue,
                        uint64_t leaving)
{
    uint64_t dead = 0;
    int status =
        troupe__queue_visit(self, &queue->put.lock, &queue->put.owner,
                            troupe__queue_single_put(queue), leaving, &dead);

    if (status == 1)
        repair(self, queue);
    return status >= 0;
}

static inline void
leave(struct troupe__thread *self, troupe_queue *queue)
{
    troupe__queue_leave(self, &queue->put.lock,
                        troupe__queue_single_put(queue));
}

/* Puts the block's ownership into the queue's hands and commits. The caller
 * holds the side and has found room. */
static TROUPE__COLD int
commit_block(struct troupe__thread *self, troupe_queue *queue, uint32_t at,
             const struct item *item)
{
    uint64_t tail = queue->put.tail;
    uint32_t number = troupe__place_number(tail);
    uint64_t next;
    int status;

    item->block->place = troupe__place_make(at, number);
    troupe__store_release(&queue->put.pending,
                          (uint64_t)troupe__block_record(item->block) << 32 |
                              (number + 1));
    if (!troupe__block_pass(item->block, troupe__owner_held(self->slot),
                            troupe__owner_held(queue))) {
        troupe__store_release(&queue->put.pending, UINT64_C(0));
        return -EINVAL;
    }
    next = write_record(queue, tail, at, queue->put.weight, item);
    weight_set(queue, queue->put.weight + item->weight);
    status = store_tail(queue, tail, next);
    if (status < 0)
        (void)troupe__block_pass(item->block, troupe__owner_held(queue),
                                 troupe__owner_held(self->slot));
    troupe__store_release(&queue->put.pending, UINT64_C(0));
    return status;
}

/* One try. 0; -EAGAIN: full; or why not. */
static TROUPE__INLINE int
attempt_inline(struct troupe__thread *self, troupe_queue *queue,
               const struct item *item, troupe_deadline deadline)
{
    uint32_t flags;
    uint64_t next;
    uint64_t tail;
    uint32_t at = 0;
    int status = enter(self, queue, deadline);

    if (TROUPE__UNLIKELY(status < 0))
        return status;
    /* Under the lock: who takes it after a shutdown finds all puts done.
     * seq_cst: as in getting. */
    flags = troupe__load_seq_cst(&queue->flags);
    if (TROUPE__UNLIKELY(flags & STOP_FLAGS)) {
        status = stopped(self, queue, flags);
        if (status < 0)
            goto out;
    }
    tail = queue->put.tail;
    status = find_room(queue, tail, queue->put.weight, item->weight,
                       item->cells, &at);
    if (TROUPE__UNLIKELY(status < 0))
        goto out;
    if (TROUPE__UNLIKELY(item->block != NULL)) {
        struct item large = *item;

        status = commit_block(self, queue, at, &large);
    } else if (TROUPE__LIKELY(item->cells != 0)) {
        next = write_record(queue, tail, at, queue->put.weight, item);
        weight_set(queue, queue->put.weight + item->weight);
        status = store_tail(queue, tail, next);
    }
out:
    leave(self, queue);
    return status;
}

static int
attempt(struct troupe__thread *self, troupe_queue *queue,
        const struct item *item, troupe_deadline deadline)
{
    return attempt_inline(self, queue, item, deadline);
}

static TROUPE__COLD void
consumers_look(struct troupe__thread *self, troupe_queue *queue)
{
    uint64_t consumer = troupe__load_acquire(&queue->consumer);
    uint64_t watch;
    bool dying;

    /* TROUPE__QUEUE_LOOK is no tag, and counts as dead. */
    if (consumer != 0 && troupe__tag_seems_dead(consumer))
        troupe__queue_parties_look(self, queue, TROUPE_QUEUE_GET, &watch,
                                   &dying);
}

/* The last declared consumer may have died, with nobody to say so in the flags
 * but who puts. Before the side is entered: looking takes a lock of its own. */
static inline void
consumers_check(struct troupe__thread *self, troupe_queue *queue)
{
    if (TROUPE__UNLIKELY(troupe__load_relaxed(&queue->flags) &
                         TROUPE__QUEUE_HAS_PARTIES))
        consumers_look(self, queue);
}

/* The queue is full: looks whether that stays so. 0: try again; -EAGAIN; or
 * that the consumers have gone. */
static int
full_look(struct troupe__thread *self, troupe_queue *queue, uint64_t *ret_watch,
          bool *ret_dying)
{
    *ret_watch = 0;
    *ret_dying = false;
    if (troupe__queue_advance(self, queue))
        return 0;
    if (troupe__load_acquire(&queue->flags) & TROUPE__QUEUE_HAS_PARTIES) {
        troupe__queue_parties_look(self, queue, TROUPE_QUEUE_GET, ret_watch,
                                   ret_dying);
        if (troupe__load_acquire(&queue->flags) & TROUPE__QUEUE_CONSUMERS_GONE)
            return 0;
    }
    return -EAGAIN;
}

/* A try after one that has found the queue full. */
static int
put_now(struct troupe__thread *self, troupe_queue *queue,
        const struct item *item)
{
    uint64_t watch;
    bool dying;

    (void)full_look(self, queue, &watch, &dying);
    return attempt(self, queue, item, TROUPE_NOW);
}

/* Room that is too little for the caller's message may do for another's: a
 * wake-up goes on to the next waiter, once for each move of the head. */
static void
pass_on(troupe_queue *queue, uint64_t *head)
{
    struct troupe__eventword *event = &queue->side[TROUPE_QUEUE_PUT].event;
    uint64_t now = troupe__load_acquire(&queue->get.head);

    if (now == *head)
        return;
    *head = now;
    if (troupe__load_relaxed(&event->sleepers) > 1 && !troupe_queue_full(queue))
        troupe__eventword_signal(event, 1);
}

static TROUPE__COLD int
put_wait(struct troupe__thread *self, troupe_queue *queue,
         const struct item *item, troupe_deadline deadline)
{
    struct troupe__eventword *event = &queue->side[TROUPE_QUEUE_PUT].event;
    uint64_t *pollers = &queue->side[TROUPE_QUEUE_PUT].pollers;
    struct troupe__queue_look look;
    struct troupe__queue_wait wait;
    uint64_t head;
    bool others;
    int status;

    if (deadline == TROUPE_NOW) {
        status = put_now(self, queue, item);
        if (status == -EAGAIN && troupe__doorbell_looked(self, pollers)) {
            status = put_now(self, queue, item);
            if (status != -EAGAIN)
                troupe__doorbell_again(self, pollers);
        }
        return status;
    }
    troupe__queue_look_begin(&look, self, deadline);
    while (troupe__queue_look(&look, &queue->get.head, &queue->put.seen)) {
        status = attempt(self, queue, item, deadline);
        if (status != -EAGAIN)
            return status;
    }
    troupe__queue_wait_begin(&wait, self, queue, TROUPE_QUEUE_PUT, deadline);
    head = troupe__load_acquire(&queue->get.head);
    for (;;) {
        uint32_t seen = troupe__eventword_prepare(event);

        status = attempt(self, queue, item, deadline);
        if (status != -EAGAIN)
            break;
        status = full_look(self, queue, &wait.owners[0], &wait.dying);
        if (status == 0)
            continue;
        pass_on(queue, &head);
        wait.owner_count = wait.owners[0] != 0;
        status = troupe__queue_wait_sleep(&wait, seen);
        if (status < 0)
            break;
    }
    others = troupe__queue_wait_end(&wait);
    if (others && status == 0 && !troupe_queue_full(queue))
        troupe__eventword_signal(event, 1);
    return status;
}

static inline int
put_item(struct troupe__thread *self, troupe_queue *queue,
         const struct item *item, troupe_deadline deadline)
{
    int status = attempt(self, queue, item, deadline);

    if (TROUPE__UNLIKELY(status == -EAGAIN))
        status = put_wait(self, queue, item, deadline);
    if (TROUPE__LIKELY(status == 0 && item->cells != 0))
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, 1);
    return status;
}

/* A block for a payload, held by the calling thread. */
static struct troupe__payload *
payload_new(struct troupe__thread *self, const troupe_queue *queue, size_t size)
{
    struct troupe__payload *payload;

    payload = troupe__block_hold(self, sizeof(*payload) + size);
    if (payload == NULL)
        return NULL;
    memset(payload, 0, sizeof(*payload));
    payload->magic = TROUPE__PAYLOAD_MAGIC;
    payload->queue = troupe__family_offset(queue);
    payload->size = size;
    return payload;
}

static void
payload_free(struct troupe__thread *self, struct troupe__payload *payload)
{
    (void)troupe__block_free(self, payload, troupe__owner_held(self->slot));
}

/* A message with a block of its own: is copied outside the lock, and only when
 * there is room for it. */
static int
put_large(struct troupe__thread *self, troupe_queue *queue, const void *data,
          size_t size, troupe_deadline deadline)
{
    struct item item = {data, size, NULL, 0, 0};
    int status = item_weight(queue, size, &item.weight);

    if (status == 0)
        status = put_item(self, queue, &item, deadline);
    if (status < 0)
        return status;
    item.block = payload_new(self, queue, size);
    if (item.block == NULL)
        return -ENOMEM;
    memcpy(item.block + 1, data, size);
    item.cells = 2;
    status = put_item(self, queue, &item, deadline);
    if (status < 0)
        payload_free(self, item.block);
    return status;
}

int
troupe_queue_put(troupe_queue *queue, const void *data, size_t size,
                 troupe_deadline deadline)
{
    struct item item = {data, size, NULL, 0, 0};
    struct troupe__thread *self;
    int status;

    if (TROUPE__UNLIKELY(!troupe__queue_valid(queue) ||
                         (data == NULL && size != 0)))
        return -EINVAL;
    self = troupe__thread_enter(&status);
    if (TROUPE__UNLIKELY(self == NULL))
        return status;
    consumers_check(self, queue);
    if (TROUPE__UNLIKELY(size > TROUPE_QUEUE_SMALL))
        return put_large(self, queue, data, size, deadline);
    item.weight = 1 + troupe__queue_cells(size);
    item.cells = item.weight;
    if (TROUPE__UNLIKELY(item.weight > queue->max_weight))
        return -EMSGSIZE;
    status = attempt_inline(self, queue, &item, deadline);
    if (TROUPE__UNLIKELY(status == -EAGAIN)) {
        /* A copy: the address of `item` itself stays unknown, so that it lives
         * in registers on the way that matters. */
        struct item waiting = item;

        status = put_wait(self, queue, &waiting, deadline);
    }
    if (TROUPE__LIKELY(status == 0))
        troupe__queue_signal(queue, TROUPE_QUEUE_GET, 1);
    return status;
}

/* Puts small messages from items[0] on, in one go. *ret_count may stay 0. */
static int
attempt_many(struct troupe__thread *self, troupe_queue *queue,
             const struct iovec *items, size_t count, size_t *ret_count,
             troupe_deadline deadline)
{
    size_t bytes = 0;
    size_t i = 0;
    uint32_t weight;
    uint64_t first;
    uint64_t tail;
    uint32_t flags;
    int status = enter(self, queue, deadline);

    *ret_count = 0;
    if (status < 0)
        return status;
    flags = troupe__load_acquire(&queue->flags);
    if (flags & STOP_FLAGS) {
        status = stopped(self, queue, flags);
        if (status < 0)
            goto out;
    }
    tail = first = queue->put.tail;
    weight = queue->put.weight;
    for (; i < count && i < BATCH_ITEMS && bytes < BATCH_BYTES; i++) {
        struct item item = {items[i].iov_base, items[i].iov_len, NULL, 0, 0};
        uint32_t at = 0;

        if (item.size > TROUPE_QUEUE_SMALL ||
            (item.data == NULL && item.size != 0))
            break;
        item.cells = item.weight = 1 + troupe__queue_cells(item.size);
        if (item.weight > queue->max_weight)
            break;
        status = find_room(queue, tail, weight, item.weight, item.cells, &at);
        if (status < 0)
            break;
        tail = write_record(queue, tail, at, weight, &item);
        weight += item.weight;
        bytes += item.size;
    }
    if (i > 0) {
        weight_set(queue, weight);
        status = store_tail(queue, first, tail);
        if (status < 0)
            i = 0;
    }
out:
    leave(self, queue);
    *ret_count = i;
    return status;
}

int
troupe_queue_put_many(troupe_queue *queue, const struct iovec *items,
                      size_t count, size_t *ret_count, troupe_deadline deadline)
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

        consumers_check(self, queue);
        status = attempt_many(self, queue, items + done, count - done, &more,
                              deadline);
        if (more > 0) {
            troupe__queue_signal(queue, TROUPE_QUEUE_GET, (uint32_t)more);
        } else if (status == 0 || status == -EAGAIN) {
            /* Large, or there is no room: by itself, and with waiting. */
            status = troupe_queue_put(queue, items[done].iov_base,
                                      items[done].iov_len, deadline);
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
troupe_queue_reserve(troupe_queue *queue, size_t size, void **ret_data)
{
    struct troupe__payload *payload;
    struct troupe__thread *self;
    uint32_t weight;
    uint32_t flags;
    int status;

    if (ret_data == NULL)
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    status = item_weight(queue, size, &weight);
    if (status < 0)
        return status;
    consumers_check(self, queue);
    flags = troupe__load_acquire(&queue->flags);
    if (flags & STOP_FLAGS) {
        status = stopped(self, queue, flags);
        if (status < 0)
            return status;
    }
    payload = payload_new(self, queue, size);
    if (payload == NULL)
        return -ENOMEM;
    *ret_data = payload + 1;
    return 0;
}

/* The reservation of the calling thread at `data`, or NULL. */
static struct troupe__payload *
reservation(struct troupe__thread *self, const troupe_queue *queue, void *data)
{
    struct troupe__payload *payload;

    if (data == NULL)
        return NULL;
    payload = (struct troupe__payload *)data - 1;
    return troupe__block_owner(payload) == troupe__owner_held(self->slot) &&
                   payload->magic == TROUPE__PAYLOAD_MAGIC &&
                   payload->queue == troupe__family_offset(queue)
               ? payload
               : NULL;
}

int
troupe_queue_commit(troupe_queue *queue, void *data, size_t size,
                    troupe_deadline deadline)
{
    struct item item = {data, size, NULL, 0, 0};
    struct troupe__payload *payload;
    struct troupe__thread *self;
    int status;

    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    payload = reservation(self, queue, data);
    if (payload == NULL)
        return -EINVAL;
    if (size > payload->size ||
        size > troupe__block_size(payload) - sizeof(*payload))
        return -EMSGSIZE;
    status = item_weight(queue, size, &item.weight);
    if (status < 0)
        return status;
    consumers_check(self, queue);
    if (size > TROUPE_QUEUE_SMALL) {
        item.block = payload;
        item.cells = 2;
        return put_item(self, queue, &item, deadline);
    }
    item.cells = item.weight;
    status = put_item(self, queue, &item, deadline);
    if (status == 0)
        payload_free(self, payload);
    return status;
}

int
troupe_queue_cancel(troupe_queue *queue, void *data)
{
    struct troupe__payload *payload;
    struct troupe__thread *self;
    int status;

    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    payload = reservation(self, queue, data);
    if (payload == NULL)
        return -EINVAL;
    payload_free(self, payload);
    return 0;
}
