/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The creator's side of a stream of tasks.
 */
#include "pool.h"

#include "base/math.h"
#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/options.h"
#include "os/cancel.h"
#include "os/clock.h"

#include <troupe/error.h>
#include <troupe/heap.h>

#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u
#define NO_SLOT   UINT32_MAX

/* How often who waits looks whether a slot was forgotten: only a wild store can
 * have done that. */
#define LOOK (250 * TROUPE__MS)

/* What a window is when nobody says. */
#define WINDOW_PER_WORKER 4u
#define SMALLEST_WINDOW   16u

_Static_assert(sizeof(troupe_imap_options) == 72, "no padding at the end");
_Static_assert(sizeof(troupe_result) == 56, "no padding at the end");

/* What the creator knows of an item: the heap's word is not taken for it. */
struct item {
    uint64_t index;
    uint64_t user;
    uint32_t taken; /* the slot has an item whose result was not given out */
};

/*
 * Belongs to the thread that uses it; what settling needs of it is under the
 * control's lock or constant.
 */
struct troupe_imap {
    troupe_imap *next;                    /* lock */
    struct troupe__pool_control *control; /* NULL: the pool was freed, or: */
    bool ended;                           /* the end was told */
    struct troupe__member_ref member;     /* of the creator */
    struct troupe__stream_view view;
    unsigned place;
    uint32_t retries;
    uint32_t sequence; /* of READY states; lock, or before they are public */
    bool cancelled;    /* lock */
    bool damaged;      /* the plan was overwritten */
    int64_t look_at;   /* when to look at all slots; lock */

    troupe_pool_source *source;
    void *source_arg;
    int source_status;    /* 0: there is more */
    uint64_t taken;       /* items taken from the source */
    uint64_t given;       /* results given out */
    uint32_t given_slot;  /* whose value the caller is looking at, or NO_SLOT */
    uint32_t given_block; /* record of its block; 0: the value is in the slot */
    size_t given_size;
    bool kept; /* it was taken, or there is none */
    char message[TROUPE_TASK_MESSAGE];

    struct item *items;   /* of each slot */
    uint32_t *free_slots; /* a ring of `window` */
    uint32_t free_first;
    uint32_t free_count;
    uint64_t *found; /* bits of slots that have ended, taken from `done` */
    uint32_t found_next;
    struct troupe__ticker ticker;
};

troupe_imap *
troupe__imap_next_of(troupe_imap *imap)
{
    return imap->next;
}

void
troupe__imap_orphan(troupe_imap *imap)
{
    imap->control = NULL;
}

static void
bit_set(uint64_t *map, uint32_t slot)
{
    uint64_t bit = UINT64_C(1) << slot % WORD_BITS;

    (void)troupe__fetch_or_seq_cst(&map[slot / WORD_BITS], bit);
}

static uint64_t
state_kind(uint64_t state)
{
    return (state & TROUPE__SLOT_MASK) >> TROUPE__SLOT_SHIFT;
}

static bool
has_ended(uint64_t state)
{
    return state_kind(state) >= TROUPE__SLOT_VALUE;
}

/* The word of a slot that becomes ready once more. */
static uint64_t
ready_word(troupe_imap *imap)
{
    return (uint64_t)++imap->sequence << 32 |
           TROUPE__SLOT_WORD(TROUPE__SLOT_READY);
}

/* Frees a block if the slot holds it. */
static void
block_drop(struct troupe__thread *self, struct troupe__task_slot *slot,
           uint32_t *record)
{
    if (*record != 0)
        (void)troupe__block_free(self, troupe__block_at(*record),
                                 troupe__owner_held(slot));
    *record = 0;
}

void
troupe__stream_empty(struct troupe__thread *self, struct troupe__job *job)
{
    struct troupe__stream_view view;
    struct troupe__plan plan;
    uint32_t i;

    if (!troupe__plan_read(job, &plan) || plan.kind != TROUPE__JOB_STREAM)
        return;
    troupe__stream_view((struct troupe__stream *)job, &plan, &view);
    for (i = 0; i < view.window; i++) {
        struct troupe__task_slot *slot = &view.slots[i];

        block_drop(self, slot, &slot->item_block);
        block_drop(self, slot, &slot->block);
    }
}

/* Settling. */

/* What becomes of the task that a dead worker had. */
static uint64_t
next_state(struct troupe__pool_control *control, troupe_imap *imap,
           struct troupe__task_slot *slot, const struct troupe__casualty *dead)
{
    bool over = imap->cancelled || control->state == TROUPE__POOL_TERMINATED;
    bool begun = slot->begun != 0;

    /* Committed before the death. */
    if (slot->block != 0 && troupe__block_owner(troupe__block_at(
                                slot->block)) == troupe__owner_held(slot))
        return TROUPE__SLOT_WORD(TROUPE__SLOT_VALUE);
    slot->block = 0;
    slot->value_size = 0;
    if (begun)
        slot->pid = dead->pid;
    /* What we have killed a worker for is cancelled, not lost. */
    if (begun && (dead->lost || !over)) {
        troupe__store_relaxed(&control->pool->tasks_interrupted,
                              control->pool->tasks_interrupted + 1);
        if (slot->attempt > imap->retries) {
            slot->signal = troupe__code_signal(dead->code);
            return TROUPE__SLOT_WORD(TROUPE__SLOT_LOST);
        }
    }
    slot->begun = 0;
    if (over) {
        slot->attempt -= !begun;
        return TROUPE__SLOT_WORD(TROUPE__SLOT_CANCELLED);
    }
    slot->attempt += begun;
    return ready_word(imap);
}

/* The state of a slot that has an item, after a look at it. */
static uint64_t
look_at_slot(struct troupe__pool_control *control, troupe_imap *imap,
             struct troupe__task_slot *slot, uint64_t state,
             const struct troupe__casualty *dead)
{
    uint64_t tag = state & ~TROUPE__SLOT_MASK;

    switch (state_kind(state)) {
    case TROUPE__SLOT_RUNNING:
        if (dead != NULL && dead->tag != 0 && tag == dead->tag)
            return next_state(control, imap, slot, dead);
        if (troupe__crew_has(control, tag))
            return state;
        break;
    case TROUPE__SLOT_READY:
    case TROUPE__SLOT_VALUE:
    case TROUPE__SLOT_ERROR:
    case TROUPE__SLOT_LOST:
    case TROUPE__SLOT_CANCELLED:
        return state;
    default:
        break;
    }
    /* The word was overwritten: nobody has the task. */
    slot->status = -EBADMSG;
    slot->message[0] = '\0';
    return TROUPE__SLOT_WORD(TROUPE__SLOT_ERROR);
}

void
troupe__stream_settle(struct troupe__pool_control *control, troupe_imap *imap,
                      const struct troupe__casualty *dead)
{
    const struct troupe__stream_view *view = &imap->view;
    bool ready = false;
    uint32_t i;

    for (i = 0; i < view->window; i++) {
        struct troupe__task_slot *slot = &view->slots[i];
        uint64_t state = troupe__load_acquire(&slot->state);
        uint64_t next;

        /* acquire above: a slot that was given out is not taken any more. */
        if (troupe__load_relaxed(&imap->items[i].taken) == 0)
            continue;
        next = look_at_slot(control, imap, slot, state, dead);
        if (next != state) {
            state = next;
            troupe__store_seq_cst(&slot->state, state);
        }
        /* The bits that died with it. One too many does no harm: the state is
         * looked at. */
        if (has_ended(state))
            bit_set(view->done, i);
        if (state_kind(state) != TROUPE__SLOT_READY)
            continue;
        bit_set(view->ready, i);
        ready = true;
    }
    if (ready)
        troupe__pool_offer(control->pool, UINT32_MAX);
}

/* Making. */

static int
options_get(troupe_imap_options *o, const troupe_imap_options *given,
            const struct troupe__pool_control *control)
{
    int status = troupe__options_copy(o, sizeof(*o), given);

    if (status == 0)
        status = troupe__options_unknown(o->reserved_, sizeof(o->reserved_));
    if (status < 0)
        return status;
    if (o->window > TROUPE_POOL_MAX_WINDOW)
        return troupe__detail(-EINVAL, "a window of %u", o->window);
    if (o->context == NULL && o->context_size != 0)
        return troupe__detail(-EINVAL, "a size without its context");
    if (o->window == 0) {
        o->window = control->processes * WINDOW_PER_WORKER;
        if (o->window < SMALLEST_WINDOW)
            o->window = SMALLEST_WINDOW;
    }
    return troupe__pool_context_check(o->context, o->context_size);
}

/* Makes the job in the heap. Lock held. */
static int
stream_new(struct troupe__pool_control *control, struct troupe__thread *self,
           troupe_imap *imap, const troupe_imap_options *o,
           troupe_task_function *function)
{
    struct troupe__plan plan = {.kind = TROUPE__JOB_STREAM,
                                .function = (uint64_t)(uintptr_t)function,
                                .context = (uint64_t)(uintptr_t)o->context,
                                .count = o->window};
    size_t size = (size_t)troupe__plan_size(&plan);
    struct troupe__stream *stream;
    size_t total;
    int status;

    if (control->state != TROUPE__POOL_OPEN)
        return troupe__detail(-ESHUTDOWN, "the pool is closed");
    if (__builtin_add_overflow(size, o->context_size, &total))
        return troupe__detail(-ENOMEM, "the context is too large to copy");
    status =
        troupe__pool_job_new(control, self, total, size, &imap->place, &stream);
    if (status < 0)
        return status;
    if (o->context_size != 0) {
        memcpy((char *)stream + size, o->context, o->context_size);
        plan.context = (uint64_t)(uintptr_t)((char *)stream + size);
    }
    troupe__plan_write(&stream->job, &plan);
    troupe__stream_view(stream, &plan, &imap->view);
    imap->look_at = troupe__time_add(troupe__clock_now(), LOOK);
    imap->next = control->streams;
    control->streams = imap;
    troupe__pool_job_publish(control, imap->place);
    return 0;
}

static uint64_t
given_count(void *arg)
{
    const troupe_imap *imap = arg;

    return imap->given;
}

static void
local_free(troupe_imap *imap)
{
    troupe__ticker_end(&imap->ticker);
    free(imap->items);
    free(imap->free_slots);
    free(imap->found);
    free(imap);
}

static troupe_imap *
local_new(struct troupe__pool_control *control, const troupe_imap_options *o,
          troupe_pool_source *source, void *source_arg)
{
    troupe_imap *imap = calloc(1, sizeof(*imap));
    uint32_t i;

    if (imap == NULL)
        return NULL;
    imap->control = control;
    imap->member = control->member;
    imap->retries = o->retries;
    imap->source = source;
    imap->source_arg = source_arg;
    imap->given_slot = NO_SLOT;
    imap->items = calloc(o->window, sizeof(*imap->items));
    imap->free_slots = calloc(o->window, sizeof(*imap->free_slots));
    imap->found =
        calloc((o->window + WORD_BITS - 1) / WORD_BITS, sizeof(*imap->found));
    imap->ticker = (struct troupe__ticker){.call = o->progress,
                                           .arg = o->progress_arg,
                                           .total = o->total,
                                           .count = given_count,
                                           .count_arg = imap};
    if (imap->items == NULL || imap->free_slots == NULL ||
        imap->found == NULL ||
        troupe__ticker_begin(&imap->ticker, o->bar) < 0) {
        local_free(imap);
        return NULL;
    }
    for (i = 0; i < o->window; i++)
        imap->free_slots[i] = i;
    imap->free_count = o->window;
    return imap;
}

/* Feeding. */

/* Puts an item into a slot that is free. 0, -EINVAL or -ENOMEM. */
static int
slot_fill(struct troupe__thread *self, troupe_imap *imap,
          struct troupe__task_slot *slot, const troupe_item *item)
{
    const void *data = item->data;
    void *copy;

    if (data == NULL && item->size != 0)
        return troupe__detail(-EINVAL, "the source gave a size without data");
    if (data != NULL && !troupe_heap_contains(data, item->size)) {
        copy = slot->item_inline;
        if (item->size > TROUPE__SLOT_INLINE) {
            copy = troupe__block_new(self, item->size, troupe__owner_held(slot),
                                     &slot->item_block);
            if (copy == NULL) {
                slot->item_block = 0;
                return troupe__detail(-ENOMEM, "%zu bytes for an item",
                                      item->size);
            }
        }
        memcpy(copy, data, item->size);
        data = copy;
    }
    slot->item = (uint64_t)(uintptr_t)data;
    slot->item_size = item->size;
    slot->index = imap->taken;
    slot->seal =
        troupe__item_seal(slot, slot->item, slot->item_size, slot->index);
    slot->value_size = 0;
    slot->block = 0;
    slot->attempt = 1;
    slot->begun = 0;
    slot->status = 0;
    slot->pid = 0;
    slot->signal = 0;
    slot->message[0] = '\0';
    return 0;
}

/* Takes items from the source while there is room. */
static void
feed(struct troupe__thread *self, troupe_imap *imap)
{
    const struct troupe__stream_view *view = &imap->view;

    while (imap->source_status == 0 && imap->free_count != 0) {
        uint32_t index = imap->free_slots[imap->free_first];
        struct troupe__task_slot *slot = &view->slots[index];
        troupe_item item = {NULL, 0, 0};
        int status = imap->source(imap->source_arg, &item);

        if (status == 0)
            status = slot_fill(self, imap, slot, &item);
        if (status != 0) {
            imap->source_status = status > 0 ? TROUPE_END : status;
            return;
        }
        imap->items[index].index = imap->taken++;
        imap->items[index].user = item.user;
        imap->free_first = (imap->free_first + 1) % view->window;
        imap->free_count--;
        (void)pthread_mutex_lock(&imap->control->lock);
        troupe__store_relaxed(&imap->items[index].taken, 1u);
        troupe__store_seq_cst(&slot->state, ready_word(imap));
        (void)pthread_mutex_unlock(&imap->control->lock);
        bit_set(view->ready, index);
        troupe__pool_offer(imap->control->pool, 1);
    }
}

int
troupe_pool_imap_unordered(troupe_imap **ret_imap, troupe_pool *pool,
                           troupe_task_function *function,
                           troupe_pool_source *source, void *source_arg,
                           const troupe_imap_options *options)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    troupe_imap_options o;
    troupe_imap *imap;
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    if (control == NULL)
        return status;
    if (ret_imap == NULL || function == NULL || source == NULL)
        return troupe__detail(-EINVAL, "ret_imap, function or source is NULL");
    status = options_get(&o, options, control);
    if (status < 0)
        return status;
    imap = local_new(control, &o, source, source_arg);
    if (imap == NULL)
        return troupe__detail(-ENOMEM, "memory for an iterator");
    (void)pthread_mutex_lock(&control->lock);
    status = stream_new(control, self, imap, &o, function);
    (void)pthread_mutex_unlock(&control->lock);
    if (status < 0) {
        local_free(imap);
        return status;
    }
    feed(self, imap);
    *ret_imap = imap;
    return 0;
}

/* Taking. */

/* The slot whose result was given out is free again. */
static void
given_release(struct troupe__thread *self, troupe_imap *imap)
{
    struct troupe__task_slot *slot;
    uint32_t window = imap->view.window;

    if (imap->given_slot == NO_SLOT)
        return;
    slot = &imap->view.slots[imap->given_slot];
    block_drop(self, slot, &slot->item_block);
    block_drop(self, slot, &slot->block);
    imap->free_slots[(imap->free_first + imap->free_count) % window] =
        imap->given_slot;
    imap->free_count++;
    imap->given_slot = NO_SLOT;
}

static bool
found_any(const troupe_imap *imap)
{
    uint32_t i;

    for (i = 0; i < imap->view.words; i++)
        if (imap->found[i] != 0 ||
            troupe__load_acquire(&imap->view.done[i]) != 0)
            return true;
    return false;
}

/* The next slot that has ended; NO_SLOT: none. */
static uint32_t
found_take(troupe_imap *imap)
{
    const struct troupe__stream_view *view = &imap->view;
    uint32_t i;

    for (i = 0; i < view->words; i++) {
        uint32_t word = (imap->found_next + i) % view->words;

        if (troupe__load_relaxed(&view->done[word]) != 0)
            imap->found[word] |=
                troupe__exchange_seq_cst(&view->done[word], UINT64_C(0));
        while (imap->found[word] != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(imap->found[word]);
            uint32_t index = word * WORD_BITS + bit;

            imap->found[word] &= imap->found[word] - 1;
            if (index < view->window && imap->items[index].taken != 0 &&
                has_ended(troupe__load_acquire(&view->slots[index].state))) {
                imap->found_next =
                    imap->found[word] != 0 ? word : (word + 1) % view->words;
                return index;
            }
        }
    }
    return NO_SLOT;
}

/* The pool was terminated: what has not begun never will. */
static void
cancel_ready(troupe_imap *imap)
{
    const struct troupe__stream_view *view = &imap->view;
    uint32_t i;

    for (i = 0; i < view->window; i++) {
        struct troupe__task_slot *slot = &view->slots[i];
        uint64_t state = troupe__load_acquire(&slot->state);

        if (state_kind(state) != TROUPE__SLOT_READY)
            continue;
        /* This attempt was never begun. */
        if (troupe__cas_seq_cst(&slot->state, &state,
                                TROUPE__SLOT_WORD(TROUPE__SLOT_CANCELLED))) {
            slot->attempt--;
            bit_set(view->done, i);
        }
    }
}

static const char *
message_of(troupe_imap *imap, uint64_t kind,
           const struct troupe__task_slot *slot, int status)
{
    switch (kind) {
    case TROUPE__SLOT_ERROR:
        memcpy(imap->message, slot->message, sizeof(imap->message));
        imap->message[sizeof(imap->message) - 1] = '\0';
        return imap->message[0] != '\0' ? imap->message
                                        : troupe_strerror(status);
    case TROUPE__SLOT_CANCELLED:
        return "cancelled";
    default:
        return status == 0 ? "" : troupe_strerror(status);
    }
}

/* The value of a slot; one that cannot be where the slot says is none. */
static void
value_give(troupe_imap *imap, struct troupe__task_slot *slot,
           troupe_result *result)
{
    uint32_t record = troupe__load_relaxed(&slot->block);
    uint64_t size = troupe__load_relaxed(&slot->value_size);
    void *data = record == 0 ? slot->value_inline : troupe__block_at(record);

    if (record == 0 ? size > TROUPE__SLOT_INLINE
                    : troupe__block_owner(data) != troupe__owner_held(slot) ||
                          troupe__block_size(data) < size) {
        result->status = -EBADMSG;
        return;
    }
    imap->given_block = record;
    imap->given_size = (size_t)size;
    imap->kept = record == 0 && size == 0;
    if (!imap->kept)
        result->data = data;
    result->size = (size_t)size;
}

static void
give(troupe_imap *imap, uint32_t index, troupe_result *result)
{
    struct troupe__task_slot *slot = &imap->view.slots[index];
    struct item *item = &imap->items[index];
    uint64_t kind = state_kind(troupe__load_acquire(&slot->state));

    memset(result, 0, sizeof(*result));
    result->index = item->index;
    result->user = item->user;
    result->attempts = slot->attempt;
    result->pid = slot->pid;
    imap->kept = true;
    switch (kind) {
    case TROUPE__SLOT_VALUE:
        value_give(imap, slot, result);
        break;
    case TROUPE__SLOT_ERROR:
        result->status = slot->status != 0 ? slot->status : -EBADMSG;
        break;
    case TROUPE__SLOT_LOST:
        result->status = -TROUPE_EWORKERLOST;
        result->signal = slot->signal;
        break;
    default:
        result->status = -ECANCELED;
        break;
    }
    result->message = message_of(imap, kind, slot, result->status);
    /* So that it is not found once more. release: who sees the slot free sees
     * that it is not taken, see troupe__stream_settle(). */
    troupe__store_relaxed(&item->taken, 0u);
    troupe__store_release(&slot->state, TROUPE__SLOT_WORD(TROUPE__SLOT_FREE));
    imap->given_slot = index;
    imap->given++;
}

/* Whether the iterator's thread has something to do. Lock held. */
static bool
has_news(void *arg)
{
    troupe_imap *imap = arg;
    int64_t now;

    if (!troupe__plan_stands(&imap->view.stream->job, &imap->view.plan,
                             imap->cancelled)) {
        imap->damaged = true;
        return true;
    }
    if (imap->control->state == TROUPE__POOL_TERMINATED)
        cancel_ready(imap);
    if (found_any(imap))
        return true;
    now = troupe__clock_now();
    if (now < imap->look_at)
        return false;
    imap->look_at = troupe__time_add(now, LOOK);
    troupe__stream_settle(imap->control, imap, NULL);
    return found_any(imap);
}

/* Takes the job from the pool. Lock held. */
static void
detach(struct troupe__thread *self, troupe_imap *imap)
{
    struct troupe__pool_control *control = imap->control;
    troupe_imap **link;

    for (link = &control->streams; *link != imap; link = &(*link)->next)
        ;
    *link = imap->next;
    imap->control = NULL;
    /* By the plan the slots' blocks are found. */
    if (imap->damaged)
        troupe__plan_write(&imap->view.stream->job, &imap->view.plan);
    troupe__pool_job_end(control, self, imap->place);
}

/* Everything was given out. A closed pool may end now, whenever the iterator
 * is freed. */
static int
finish(struct troupe__thread *self, troupe_imap *imap)
{
    struct troupe__pool_control *control = imap->control;

    (void)troupe__ticker_tick(&imap->ticker, true);
    imap->ended = true;
    (void)pthread_mutex_lock(&control->lock);
    detach(self, imap);
    (void)pthread_mutex_unlock(&control->lock);
    return imap->source_status;
}

static int
overwritten(void)
{
    return troupe__detail(-EBADMSG, "the job was overwritten");
}

static int
next(struct troupe__thread *self, troupe_imap *imap, troupe_result *result,
     troupe_deadline deadline)
{
    struct troupe__pool_control *control = imap->control;
    int status;

    given_release(self, imap);
    for (;;) {
        uint32_t index;

        if (troupe__load_acquire(&control->state) == TROUPE__POOL_TERMINATED &&
            imap->source_status == 0)
            imap->source_status = TROUPE_END;
        feed(self, imap);
        index = found_take(imap);
        if (index != NO_SLOT) {
            give(imap, index, result);
            (void)troupe__ticker_tick(&imap->ticker, false);
            return 0;
        }
        if (imap->given == imap->taken && imap->source_status != 0)
            return finish(self, imap);
        status = troupe__crew_wait(control, self, deadline, &imap->ticker,
                                   has_news, imap);
        if (status < 0)
            return status;
        if (imap->damaged)
            return overwritten();
    }
}

/* The caller's thread, if it may use the iterator. */
static struct troupe__thread *
enter(const troupe_imap *imap, int *ret_error)
{
    struct troupe__thread *self;

    troupe__detail_clear();
    self = troupe__thread_enter(ret_error);
    if (self == NULL)
        return NULL;
    if (imap->member.number != self->member ||
        imap->member.generation != self->slot->member_generation) {
        *ret_error =
            troupe__detail(-EXDEV, "the pool was made by another process");
        return NULL;
    }
    return self;
}

int
troupe_imap_next(troupe_imap *imap, troupe_result *ret_result,
                 troupe_deadline deadline)
{
    TROUPE__UNCANCELLED;
    struct troupe__thread *self;
    int status;

    if (imap == NULL || ret_result == NULL)
        return -EINVAL;
    self = enter(imap, &status);
    if (self == NULL)
        return status;
    if (imap->ended)
        return imap->source_status;
    if (imap->control == NULL)
        return troupe__detail(-EINVAL, "the pool was freed");
    if (imap->damaged)
        return overwritten();
    return next(self, imap, ret_result, deadline);
}

int
troupe_imap_take(troupe_imap *imap, void **ret_data)
{
    TROUPE__UNCANCELLED;
    struct troupe__task_slot *slot;
    struct troupe__thread *self;
    void *data;
    int status;

    if (imap == NULL || ret_data == NULL)
        return -EINVAL;
    self = enter(imap, &status);
    if (self == NULL)
        return status;
    if (imap->ended)
        return -ENOENT;
    if (imap->control == NULL)
        return troupe__detail(-EINVAL, "the pool was freed");
    if (imap->given_slot == NO_SLOT || imap->kept)
        return -ENOENT;
    slot = &imap->view.slots[imap->given_slot];
    if (imap->given_block != 0) {
        data = troupe__block_at(imap->given_block);
        if (!troupe__block_pass(data, troupe__owner_held(slot),
                                troupe__owner_given(self)))
            return -ENOENT;
        slot->block = 0;
    } else {
        data = troupe__block_new(self, imap->given_size,
                                 troupe__owner_given(self), NULL);
        if (data == NULL)
            return -ENOMEM;
        memcpy(data, slot->value_inline, imap->given_size);
    }
    imap->kept = true;
    *ret_data = data;
    return 0;
}

/* Ending. */

static bool
runs_here(struct troupe__pool_control *control, uint32_t index, const void *arg)
{
    const troupe_imap *imap = arg;
    uint64_t tag = troupe__crew_tag(control, index);
    uint64_t running = tag | TROUPE__SLOT_WORD(TROUPE__SLOT_RUNNING);
    uint32_t i;

    if (tag == 0 || !troupe__crew_is_at(control, index, imap->view.stream))
        return false;
    for (i = 0; i < imap->view.window; i++)
        if (troupe__load_acquire(&imap->view.slots[i].state) == running)
            return true;
    return false;
}

int
troupe_imap_free(troupe_imap *imap)
{
    TROUPE__UNCANCELLED;
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    int status;

    if (imap == NULL)
        return 0;
    self = enter(imap, &status);
    if (self == NULL)
        return status;
    control = imap->control;
    if (control != NULL) {
        (void)pthread_mutex_lock(&control->lock);
        imap->cancelled = true;
        troupe__store_seq_cst(&imap->view.stream->job.cancelled, 1u);
        cancel_ready(imap);
        troupe__crew_kill(control, self, runs_here, imap, imap->view.stream);
        detach(self, imap);
        troupe__crew_look(control, self);
        (void)pthread_mutex_unlock(&control->lock);
    }
    local_free(imap);
    return 0;
}
