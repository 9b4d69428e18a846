/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's side of a stream: claim a slot, run its task, commit its end; and
 * what a task may call.
 */
#include "pool.h"

#include "heap/alloc.h"
#include "os/task.h"

#include <troupe/scope.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORD_BITS 64u

/* Lives on the worker's stack while the task runs. */
struct troupe_task {
    struct troupe__thread *self;
    troupe_pool *pool;
    struct troupe__stream *stream;
    struct troupe__task_slot *slot;
    /* Copies of what the slot says. */
    const void *item;
    size_t item_size;
    uint64_t index;
    uint32_t attempt;
    troupe_scope *scope; /* made when the task first wants memory */
    void *value;         /* a block of the scope, or NULL */
    size_t value_size;   /* without a block: what lies in the slot */
    int failed;          /* by troupe_task_fail() */
};

/* Takes one bit of the map of ready slots, the first from `next` on. False:
 * there is none. */
static bool
bit_take(const struct troupe__stream_view *view, uint32_t *ret_slot)
{
    uint32_t next = troupe__load_relaxed(&view->stream->job.next);
    uint64_t *ready = view->ready;
    uint32_t first;
    uint32_t i;

    if (next >= view->window)
        next = 0;
    first = next / WORD_BITS;
    /* The first word twice: at first only the bits from `next` on. */
    for (i = 0; i <= view->words; i++) {
        uint64_t *word = &ready[(first + i) % view->words];
        uint64_t mask =
            i == 0 ? ~UINT64_C(0) << next % WORD_BITS : ~UINT64_C(0);
        uint64_t found;

        while ((found = troupe__load_acquire(word) & mask) != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(found);
            uint64_t one = UINT64_C(1) << bit;

            if ((troupe__fetch_and_seq_cst(word, ~one) & one) == 0)
                continue;
            *ret_slot = (first + i) % view->words * WORD_BITS + bit;
            if (*ret_slot >= view->window)
                continue; /* damaged */
            troupe__store_relaxed(&view->stream->job.next, *ret_slot + 1);
            return true;
        }
    }
    return false;
}

/* The scope of the attempt. NULL with errno. */
static troupe_scope *
scope_get(troupe_task *task)
{
    int status;

    if (task->scope == NULL) {
        status = troupe_scope_new(&task->scope);
        if (status < 0) {
            task->scope = NULL;
            errno = -status;
        }
    }
    return task->scope;
}

static void
message_set(struct troupe__task_slot *slot, const char *text)
{
    (void)snprintf(slot->message, sizeof(slot->message), "%s", text);
}

/* Commits a value; false: the creator has ended the attempt. */
static bool
commit_value(troupe_task *task, uint64_t running)
{
    struct troupe__task_slot *slot = task->slot;

    slot->value_size = task->value_size;
    if (task->value != NULL) {
        troupe__store_relaxed(&slot->block, troupe__block_record(task->value));
        /* The commit, see the slot's description. What is written above comes
         * before it for whoever finds us dead. */
        if (!troupe__block_pass(task->value, troupe__owner_held(task->scope),
                                troupe__owner_held(slot))) {
            slot->block = 0;
            slot->value_size = 0;
            slot->status = -EINVAL; /* the task has freed it */
            message_set(slot, "the value was freed by its task");
            return troupe__cas_seq_cst(&slot->state, &running,
                                       TROUPE__SLOT_WORD(TROUPE__SLOT_ERROR));
        }
    }
    return troupe__cas_seq_cst(&slot->state, &running,
                               TROUPE__SLOT_WORD(TROUPE__SLOT_VALUE));
}

static bool
commit_error(troupe_task *task, uint64_t running, int status)
{
    struct troupe__task_slot *slot = task->slot;

    slot->status = status;
    return troupe__cas_seq_cst(&slot->state, &running,
                               TROUPE__SLOT_WORD(TROUPE__SLOT_ERROR));
}

/* Copies the slot's item; false: it was overwritten. */
static bool
item_read(troupe_task *task)
{
    const struct troupe__task_slot *slot = task->slot;
    uint64_t item = troupe__load_relaxed(&slot->item);
    uint64_t size = troupe__load_relaxed(&slot->item_size);

    task->index = troupe__load_relaxed(&slot->index);
    task->item = (const void *)(uintptr_t)item;
    task->item_size = (size_t)size;
    return troupe__load_relaxed(&slot->seal) ==
           troupe__item_seal(slot, item, size, task->index);
}

/* Runs the task of a slot that this worker has. */
static void
run(struct troupe__thread *self, troupe_pool *pool,
    struct troupe__pool_worker *worker, const struct troupe__stream_view *view,
    uint32_t index, uint64_t running)
{
    troupe_task_function *function =
        (troupe_task_function *)(uintptr_t)view->plan.function;
    struct troupe__task_slot *slot = &view->slots[index];
    struct troupe_task task = {.self = self,
                               .pool = pool,
                               .stream = view->stream,
                               .slot = slot,
                               .attempt = slot->attempt};
    bool ended;
    int status;

    slot->message[0] = '\0';
    troupe__store_relaxed(&worker->busy, 1u);
    troupe__store_release(&slot->begun, 1u);
    /* Killed before this, the creator enters it. Until an attempt has begun the
     * slot names the last one's worker. */
    slot->pid = worker->pid;
    if (item_read(&task))
        status = function(&task, (void *)(uintptr_t)view->plan.context);
    else
        status = troupe_task_fail(&task, -EBADMSG, "the item was overwritten");
    if (status == 0)
        status = task.failed;
    ended = status == 0 ? commit_value(&task, running)
                        : commit_error(&task, running, status);
    if (ended) {
        troupe__store_relaxed(&worker->ended, worker->ended + 1);
        (void)troupe__fetch_or_seq_cst(&view->done[index / WORD_BITS],
                                       UINT64_C(1) << index % WORD_BITS);
        troupe__eventword_signal(&pool->news.event, UINT32_MAX);
    }
    /* After the end was told: nobody waits for this. */
    if (task.scope != NULL)
        (void)troupe_scope_free(task.scope);
}

bool
troupe__stream_run(struct troupe__thread *self, troupe_pool *pool,
                   struct troupe__pool_worker *worker,
                   const struct troupe__stream_view *view)
{
    struct troupe__turn turn = {.until = 0};
    bool any = false;
    uint32_t index;

    while (bit_take(view, &index)) {
        struct troupe__task_slot *slot = &view->slots[index];
        uint64_t state = troupe__load_acquire(&slot->state);
        uint64_t running = self->tag | TROUPE__SLOT_WORD(TROUPE__SLOT_RUNNING);

        if ((state & TROUPE__SLOT_MASK) !=
                TROUPE__SLOT_WORD(TROUPE__SLOT_READY) ||
            !troupe__cas_seq_cst(&slot->state, &state, running))
            continue;
        any = true;
        run(self, pool, worker, view, index, running);
        if (troupe__turn_over(pool, &turn)) {
            /* There may be more, for who has nothing to do. */
            troupe__pool_offer(pool, 1);
            break;
        }
    }
    troupe__store_relaxed(&worker->busy, 0u);
    return any;
}

bool
troupe__stream_waits(const struct troupe__stream_view *view)
{
    uint32_t i;

    for (i = 0; i < view->words; i++)
        if (troupe__load_seq_cst(&view->ready[i]) != 0)
            return true;
    return false;
}

const void *
troupe_task_item(const troupe_task *task)
{
    return task == NULL ? NULL : task->item;
}

size_t
troupe_task_size(const troupe_task *task)
{
    return task == NULL ? 0 : task->item_size;
}

uint64_t
troupe_task_index(const troupe_task *task)
{
    return task == NULL ? 0 : task->index;
}

uint32_t
troupe_task_attempt(const troupe_task *task)
{
    return task == NULL ? 0 : task->attempt;
}

bool
troupe_task_cancelled(const troupe_task *task)
{
    return task == NULL ||
           troupe__load_acquire(&task->stream->job.cancelled) != 0 ||
           troupe__load_acquire(&task->pool->state) == TROUPE__POOL_TERMINATED;
}

void *
troupe_task_alloc(troupe_task *task, size_t size)
{
    if (task == NULL) {
        errno = EINVAL;
        return NULL;
    }
    return scope_get(task) == NULL ? NULL
                                   : troupe_scope_alloc(task->scope, size);
}

int
troupe_task_return(troupe_task *task, const void *data, size_t size)
{
    void *block;

    if (task == NULL || (data == NULL && size != 0))
        return -EINVAL;
    if (task->scope != NULL && data != NULL &&
        troupe__block_owner(data) == troupe__owner_held(task->scope)) {
        if (troupe__block_size(data) < size)
            return -EINVAL;
        task->value = troupe__block_at(troupe__block_record(data));
        task->value_size = size;
        return 0;
    }
    if (size <= TROUPE__SLOT_INLINE) {
        if (size != 0)
            memmove(task->slot->value_inline, data, size);
        task->value = NULL;
        task->value_size = size;
        return 0;
    }
    block = troupe_task_alloc(task, size);
    if (block == NULL)
        return -errno;
    memcpy(block, data, size);
    task->value = block;
    task->value_size = size;
    return 0;
}

int
troupe_task_fail(troupe_task *task, int status, const char *format, ...)
{
    va_list args;

    if (status == 0)
        status = -EINVAL;
    if (task == NULL)
        return status;
    task->failed = status;
    task->slot->message[0] = '\0';
    if (format != NULL) {
        va_start(args, format);
        (void)vsnprintf(task->slot->message, sizeof(task->slot->message),
                        format, args);
        va_end(args);
    }
    return status;
}
