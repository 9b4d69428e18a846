/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/queue.h"

#include "base/math.h"
#include "heap/detail.h"
#include "heap/directory.h"
#include "heap/options.h"
#include "heap/pages.h"
#include "heap/slot.h"
#include "os/clock.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_BYTES       (UINT64_C(1) << 20)
#define MOST_BYTES          (UINT64_C(16) << 30)
#define DEFAULT_SMALL_BYTES (UINT64_C(8) << 20)
#define MOST_ITEMS          (UINT64_C(1) << 30)
#define MOST_PARTIES        (1u << 16)

/* A record of the largest message that is kept in the ring. */
#define MOST_CELLS (1 + TROUPE_QUEUE_SMALL / TROUPE__CELL)

/* Here, so that a program which can make queues is linked with their recovery.
 */
__attribute__((constructor)) static void
recovery_begin(void)
{
    troupe__recovery_add(&troupe__queue_recovery);
}

uint64_t troupe__queue_reach;

bool
troupe__queue_reaches(uint64_t offset)
{
    uint64_t reach = offset + 1 - troupe__family.arena_offset;

    if (troupe__page_of(offset) == TROUPE__NO_PAGE)
        return false;
    /* The arena never becomes shorter; of two threads at it either is right. */
    if (reach > troupe__load_relaxed(&troupe__queue_reach))
        troupe__store_relaxed(&troupe__queue_reach, reach);
    return true;
}

/* Why not to wait any longer, or 0. */
static int
lock_end(struct troupe__thread *self, troupe_queue *queue, unsigned ends)
{
    if ((ends & TROUPE__QUEUE_STOPS) != 0 && self->stoppable != 0 &&
        (troupe__load_acquire(&troupe__member_at(self->member - 1)->stop) &
         1) != 0)
        return -ECANCELED;
    if ((ends & TROUPE__QUEUE_CLOSES) != 0 &&
        (troupe__load_acquire(&queue->flags) & TROUPE__QUEUE_CLOSED) != 0)
        return troupe__queue_closed(self, queue);
    return 0;
}

int
troupe__queue_lock(struct troupe__thread *self, troupe_queue *queue,
                   struct troupe__mutex *lock, troupe_deadline deadline,
                   unsigned ends, uint64_t *ret_dead)
{
    struct troupe__wait wait;
    int64_t now;
    int status;

    /* One wait, whose bound goes on from round to round. The lock is counted
     * already, as in troupe__mutex_acquire_slow(). */
    self->locks++;
    troupe__wait_begin(&wait, self, lock, TROUPE__KIND_INTERNAL, deadline);
    do {
        now = troupe__clock_now();
        wait.deadline = troupe__time_add(now, TROUPE__LOCK_BOUND);
        if (wait.deadline > deadline)
            wait.deadline = deadline;
        status = troupe__word_acquire(&lock->word, self->tag, &wait, ret_dead);
        if (status == -ETIMEDOUT && wait.deadline != deadline) {
            status = lock_end(self, queue, ends);
            if (status == 0)
                status = -EAGAIN;
        }
    } while (status == -EAGAIN);
    troupe__wait_end(&wait);
    if (status < 0)
        self->locks--;
    return status;
}

int
troupe__queue_lock_slow(struct troupe__thread *self, troupe_queue *queue,
                        struct troupe__mutex *lock, uint64_t *owner,
                        troupe_deadline deadline, bool single, unsigned ends,
                        uint64_t *ret_dead)
{
    int64_t now = troupe__clock_now();
    troupe_deadline until =
        deadline > now ? deadline : troupe__time_add(now, TROUPE__LOCK_BOUND);
    int status = troupe__queue_lock(self, queue, lock, until, ends, ret_dead);

    if (status == -ETIMEDOUT && deadline == TROUPE_NOW)
        return -EAGAIN;
    if (status < 0)
        return status;
    if (!single)
        return status;
    /* The word is the ownership; the lock only keeps visitors out who repair
     * for the owner before. From here on they see us, alive; and if we die, the
     * next one repairs, whatever we got done of it. */
    *ret_dead = troupe__load_relaxed(owner);
    troupe__store_release(owner, self->tag);
    troupe__mutex_release(self, lock);
    return 1;
}

int
troupe__queue_visit(struct troupe__thread *self, struct troupe__mutex *lock,
                    uint64_t *owner, bool single, uint64_t leaving,
                    uint64_t *ret_dead)
{
    int status = troupe__mutex_acquire(
        self, lock, troupe_after_ns(TROUPE__LOCK_BOUND), ret_dead);
    uint64_t present;

    if (status < 0)
        return -EAGAIN;
    if (!single)
        return status == 1;
    present = troupe__load_acquire(owner);
    if (present != 0 && present != leaving && present != self->tag &&
        !troupe__tag_dead(present)) {
        troupe__mutex_release(self, lock);
        return -EAGAIN;
    }
    *ret_dead = present;
    return present != 0 && present != self->tag;
}

int
troupe__queue_read(const troupe_queue *queue, uint64_t place, uint64_t tail,
                   struct troupe__found *ret)
{
    uint32_t ring = troupe__queue_ring_size(queue);
    uint32_t position = troupe__place_position(place);
    uint32_t end = troupe__place_position(tail);
    uint32_t number = troupe__place_number(place);
    const struct troupe__record_block *block;
    struct troupe__record *record;
    uint32_t cells;
    uint32_t room;
    uint64_t ctl;

    if (position >= ring || end >= ring)
        return -EBADMSG;
    record = troupe__queue_record(queue, position);
    ctl = troupe__load_acquire(&record->ctl);
    if ((ctl & TROUPE__RECORD_STATE) == TROUPE__RECORD_PAD && position != 0) {
        position = 0;
        record = troupe__queue_record(queue, 0);
        ctl = troupe__load_acquire(&record->ctl);
    }
    room = position < end ? end - position : ring - position;
    switch (ctl & TROUPE__RECORD_STATE) {
    case TROUPE__RECORD_READY:
    case TROUPE__RECORD_DONE:
        if (ctl & TROUPE__RECORD_NEVER)
            return -EBADMSG;
        break;
    case TROUPE__RECORD_LEASED:
        if ((ctl & TROUPE__TAG_MARK) == 0)
            return -EBADMSG;
        break;
    default:
        return -EBADMSG;
    }
    if (ctl & TROUPE__RECORD_BLOCK) {
        if (room < 2)
            return -EBADMSG;
        block = (const struct troupe__record_block *)(record + 1);
        ret->size = troupe__load_relaxed(&block->size);
        ret->block = troupe__load_relaxed(&block->block);
        if (ret->size > MOST_BYTES || ret->block == 0)
            return -EBADMSG;
        cells = 2;
        ret->weight = 1 + troupe__queue_cells(ret->size);
    } else {
        ret->size = troupe__load_relaxed(&record->size);
        ret->block = 0;
        if (ret->size > TROUPE_QUEUE_SMALL)
            return -EBADMSG;
        cells = 1 + troupe__queue_cells(ret->size);
        if (cells > room)
            return -EBADMSG;
        ret->weight = cells;
    }
    ret->record = record;
    ret->ctl = ctl;
    ret->place = troupe__place_make(position, number);
    position += cells;
    ret->next = troupe__place_make(position == ring ? 0 : position, number + 1);
    return 0;
}

/* Checks the options and completes them. */
static int
options_check(troupe_queue_options *o)
{
    if (o->max_items > MOST_ITEMS)
        return troupe__detail(-EINVAL, "max_items of %llu",
                              (unsigned long long)o->max_items);
    if (o->max_bytes == 0)
        o->max_bytes = DEFAULT_BYTES;
    if (o->max_bytes > MOST_BYTES || o->max_bytes < TROUPE_QUEUE_OVERHEAD)
        return troupe__detail(-EINVAL, "max_bytes of %llu",
                              (unsigned long long)o->max_bytes);
    if (o->small_bytes == 0)
        o->small_bytes = o->max_bytes < DEFAULT_SMALL_BYTES
                             ? o->max_bytes
                             : DEFAULT_SMALL_BYTES;
    if (o->small_bytes > o->max_bytes)
        return troupe__detail(-EINVAL, "small_bytes of %llu, over max_bytes",
                              (unsigned long long)o->small_bytes);
    if (o->producers > MOST_PARTIES || o->consumers > MOST_PARTIES)
        return troupe__detail(-EINVAL, "%u producers, %u consumers",
                              o->producers, o->consumers);
    return 0;
}

/*
 * Cells for the ring: what may be in it at one time, and once more the largest
 * record, as padding never takes more than that less a cell. So the ring is
 * never what makes a queue full, but for its share of max_bytes.
 */
static uint32_t
ring_cells(const troupe_queue_options *o)
{
    uint64_t most = o->max_bytes / TROUPE__CELL;
    uint64_t cells;

    if (most > MOST_CELLS)
        most = MOST_CELLS;
    cells = o->small_bytes / TROUPE__CELL;
    if (cells < most)
        cells = most;
    if (o->max_items != 0 && cells > o->max_items * most)
        cells = o->max_items * most;
    /* Two cells for a message in a block, where small ones take less. */
    return (uint32_t)(cells + most + 2);
}

int
troupe_queue_new(troupe_queue **ret_queue, const troupe_queue_options *options)
{
    troupe_queue_options o;
    struct troupe__thread *self;
    troupe_queue *queue;
    uint32_t cells;
    int status;

    troupe__detail_clear();
    if (ret_queue == NULL)
        return -EINVAL;
    status = troupe__options_copy(&o, sizeof(o), options);
    if (status == 0)
        status = troupe__options_unknown(o.reserved_, sizeof(o.reserved_));
    if (status == 0)
        status = options_check(&o);
    if (status < 0)
        return status;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    cells = ring_cells(&o);
    queue = troupe__object_new(self, TROUPE__KIND_QUEUE,
                               sizeof(*queue) + (size_t)cells * TROUPE__CELL,
                               sizeof(*queue), o.name);
    if (queue == NULL)
        return troupe__detail(-ENOMEM, "a queue of %llu bytes",
                              (unsigned long long)cells * TROUPE__CELL);
    queue->cells = cells;
    queue->cells_inverted = ~cells;
    queue->max_items =
        o.max_items == 0 ? (uint32_t)MOST_ITEMS : (uint32_t)o.max_items;
    queue->max_weight = (uint32_t)(o.max_bytes / TROUPE__CELL);
    queue->max_bytes = o.max_bytes;
    queue->small_bytes = o.small_bytes;
    queue->bounded_items = o.max_items != 0;
    queue->expected[TROUPE_QUEUE_PUT] = o.producers;
    queue->expected[TROUPE_QUEUE_GET] = o.consumers;
    if (o.single_producer)
        queue->options |= TROUPE__QUEUE_SINGLE_PRODUCER;
    if (o.single_consumer)
        queue->options |= TROUPE__QUEUE_SINGLE_CONSUMER;
    status = troupe__object_publish(self, queue);
    if (status < 0)
        return troupe__detail(status, "an entry for the queue");
    *ret_queue = queue;
    return 0;
}

void
troupe__queue_begin_at(troupe_queue *queue, uint32_t number, uint32_t position)
{
    uint64_t place = troupe__place_make(position % queue->cells, number);

    queue->put.tail = place;
    queue->put.seen = place;
    queue->put.total = number;
    queue->get.head = place;
    queue->get.seen = place;
}

/* Frees the block if it is the queue's. */
static void
block_drop(struct troupe__thread *self, const troupe_queue *queue,
           uint32_t record)
{
    if (record != 0)
        (void)troupe__block_free(self, troupe__block_at(record),
                                 troupe__owner_held(queue));
}

void
troupe__queue_detach(struct troupe__thread *self, troupe_queue *queue)
{
    troupe__object_detach(&queue->object);
    troupe__doorbell_empty(self, &queue->side[TROUPE_QUEUE_GET].pollers);
    troupe__doorbell_empty(self, &queue->side[TROUPE_QUEUE_PUT].pollers);
}

void
troupe__queue_empty_out(struct troupe__thread *self, troupe_queue *queue)
{
    uint64_t at = queue->get.head;
    uint64_t tail = troupe__queue_tail(queue, queue->put.tail);
    uint32_t left = troupe__place_between(at, tail);
    struct troupe__found found;

    block_drop(self, queue, (uint32_t)(queue->put.pending >> 32));
    block_drop(self, queue, queue->get.pending);
    if (left > troupe__queue_ring_size(queue))
        left = 0; /* damaged */
    for (; left > 0; left--) {
        if (troupe__queue_read(queue, at, tail, &found) < 0)
            break;
        if ((found.ctl & TROUPE__RECORD_STATE) != TROUPE__RECORD_DONE)
            block_drop(self, queue, found.block);
        at = found.next;
    }
    troupe__queue_parties_free(self, queue);
}

void
troupe_queue_free(troupe_queue *queue)
{
    struct troupe__thread *self;
    bool locked;
    bool mine;
    int error;

    if (queue == NULL || !troupe__queue_valid(queue))
        return;
    self = troupe__thread_enter(&error);
    if (self == NULL)
        return;
    troupe__doorbell_close(self, &queue->side[TROUPE_QUEUE_GET].pollers);
    troupe__doorbell_close(self, &queue->side[TROUPE_QUEUE_PUT].pollers);
    locked = troupe__directory_lock(self);
    mine = troupe__queue_valid(queue) && troupe__object_claim(self, queue);
    /* Without the lock (its holder was stopped, perhaps in this very queue) it
     * stays this thread's, and goes when that leaves. */
    if (!locked)
        return;
    if (mine)
        troupe__queue_detach(self, queue);
    troupe__directory_unlock(self);
    if (!mine)
        return;
    troupe__queue_empty_out(self, queue);
    troupe__object_free(self, queue);
}

static void
wake_all(troupe_queue *queue)
{
    troupe__queue_signal(queue, TROUPE_QUEUE_GET, UINT32_MAX);
    troupe__queue_signal(queue, TROUPE_QUEUE_PUT, UINT32_MAX);
}

int
troupe_queue_close(troupe_queue *queue)
{
    struct troupe__thread *self;
    int status;

    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    status = troupe__queue_party_close(self, queue);
    if (status < 0)
        return status;
    wake_all(queue);
    troupe__doorbell_close(self, &queue->side[TROUPE_QUEUE_GET].pollers);
    troupe__doorbell_close(self, &queue->side[TROUPE_QUEUE_PUT].pollers);
    return 0;
}

int
troupe_queue_fileno(troupe_queue *queue, int side, int *ret_fd)
{
    struct troupe__thread *self;
    int status;

    if (ret_fd == NULL ||
        (side != TROUPE_QUEUE_GET && side != TROUPE_QUEUE_PUT))
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    if ((troupe__load_acquire(&queue->flags) & TROUPE__QUEUE_CLOSED) != 0) {
        status = troupe__queue_closed(self, queue);
        if (status < 0)
            return status;
    }
    return troupe__doorbell_fileno(self, &queue->side[side].pollers, false,
                                   ret_fd);
}

int
troupe_queue_shutdown(troupe_queue *queue)
{
    if (!troupe__queue_valid(queue))
        return -EINVAL;
    (void)troupe__fetch_or_seq_cst(&queue->flags, TROUPE__QUEUE_SHUTDOWN);
    wake_all(queue);
    return 0;
}

/* Where the next get looks. */
static uint64_t
front(const troupe_queue *queue)
{
    return troupe__load_acquire(&queue->get.window) != 0
               ? troupe__load_acquire(&queue->get.cursor)
               : troupe__load_acquire(&queue->get.head);
}

size_t
troupe_queue_qsize(const troupe_queue *queue)
{
    uint32_t count;

    if (!troupe__queue_valid(queue))
        return 0;
    /* The front first: the tail only moves away from it. */
    count = troupe__place_number(front(queue));
    count =
        troupe__place_number(troupe__load_acquire(&queue->put.tail)) - count;
    return (int32_t)count < 0 ? 0 : count;
}

bool
troupe_queue_empty(const troupe_queue *queue)
{
    return troupe_queue_qsize(queue) == 0;
}

/* Cells in use according to head and tail; the caller holds the put side, or
 * takes the result for a hint. */
static uint32_t
weight_in_use(const troupe_queue *queue)
{
    uint64_t head = troupe__load_acquire(&queue->get.head);
    uint64_t tail = troupe__load_acquire(&queue->put.tail);
    uint32_t position = troupe__place_position(head);
    const struct troupe__record *record;

    if (troupe__place_between(head, tail) == 0 ||
        position >= troupe__queue_ring_size(queue))
        return 0;
    record = troupe__queue_record(queue, position);
    /* For a hint the record may have been taken and written over meanwhile. */
    return troupe__load_relaxed(&queue->put.weight) -
           troupe__peek_u32(&record->weight);
}

bool
troupe_queue_full(const troupe_queue *queue)
{
    uint64_t head;
    uint64_t tail;
    uint32_t weight;
    uint32_t at;

    if (!troupe__queue_valid(queue))
        return false;
    do {
        head = troupe__load_acquire(&queue->get.head);
        tail =
            troupe__queue_tail(queue, troupe__load_acquire(&queue->put.tail));
        weight = weight_in_use(queue);
    } while (troupe__load_acquire(&queue->get.head) != head);
    return troupe__place_between(head, tail) >= queue->max_items ||
           weight >= queue->max_weight ||
           !troupe__queue_ring_fits(queue, head, tail, 1, &at);
}

/* Counts messages behind the head that are leased, and that are done; the
 * caller holds the get side. */
static void
count_window(const troupe_queue *queue, uint32_t *leased, uint32_t *done)
{
    uint64_t at = queue->get.head;
    uint64_t tail = queue->get.seen;
    uint32_t left = queue->get.limit - troupe__place_number(at);
    struct troupe__found found;

    if (queue->get.window == 0 || left > troupe__queue_ring_size(queue))
        return;
    for (; left > 0; left--) {
        uint64_t state;

        if (troupe__queue_read(queue, at, tail, &found) < 0)
            break;
        state = found.ctl & TROUPE__RECORD_STATE;
        *leased += state == TROUPE__RECORD_LEASED;
        *done += state == TROUPE__RECORD_DONE;
        at = found.next;
    }
}

int
troupe_queue_info_get(troupe_queue *queue, troupe_queue_info *info)
{
    troupe_queue_info found = {.size = sizeof(found)};
    struct troupe__thread *self;
    uint64_t head;
    uint64_t tail;
    uint32_t flags;
    uint32_t done = 0;
    bool visited;
    int status;

    if (!troupe__info_valid(info))
        return -EINVAL;
    status = troupe__queue_begin(queue, &self);
    if (status < 0)
        return status;
    found.max_items = queue->bounded_items ? queue->max_items : 0;
    found.max_bytes = queue->max_bytes;
    found.small_bytes = queue->small_bytes;
    memcpy(found.name, queue->object.name, sizeof(found.name) - 1);
    visited = troupe__queue_put_visit(self, queue, 0);
    found.bytes = (uint64_t)weight_in_use(queue) * TROUPE__CELL;
    if (visited)
        troupe__mutex_release(self, &queue->put.lock);
    visited = troupe__queue_get_visit(self, queue, 0);
    if (visited)
        count_window(queue, &found.leased, &done);
    /* In this order each is at most what the next one says. */
    found.puts = troupe__load_acquire(&queue->put.total);
    head = troupe__load_acquire(&queue->get.head);
    tail = troupe__load_acquire(&queue->put.tail);
    found.items = troupe__place_between(head, tail) - done;
    found.puts += troupe__place_number(tail) - (uint32_t)found.puts;
    found.gets = found.puts - found.items;
    if (visited)
        troupe__mutex_release(self, &queue->get.lock);
    found.lost = troupe__load_relaxed(&queue->lost) >> 32;
    found.redelivered = troupe__load_relaxed(&queue->redelivered);
    found.producers =
        troupe__queue_parties_count(self, queue, TROUPE_QUEUE_PUT);
    found.consumers =
        troupe__queue_parties_count(self, queue, TROUPE_QUEUE_GET);
    flags = troupe__load_acquire(&queue->flags);
    found.shut_down = (flags & TROUPE__QUEUE_SHUTDOWN) != 0;
    found.producers_gone = (flags & TROUPE__QUEUE_PRODUCERS_GONE) != 0;
    found.consumers_gone = (flags & TROUPE__QUEUE_CONSUMERS_GONE) != 0;
    troupe__info_copy(info, &found, sizeof(found));
    return 0;
}
