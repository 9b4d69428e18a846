/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job is, and where its parts stand. The heap is open to every member,
 * so a plan that stands there is copied once, and used only when its seal is
 * right and the job's block holds all that it speaks of.
 */
#include "pool.h"

#include "base/math.h"
#include "heap/alloc.h"

#include <string.h>

/*
 * Tells what was written here on purpose from what got here by mistake, another
 * job's record included; it is no protection against malice. Each step can be
 * undone, so that one word changed always changes the sum.
 */
static uint32_t
seal_of(const void *at, const uint64_t *words, unsigned count)
{
    uint64_t sum = troupe__family_offset(at);
    unsigned i;

    for (i = 0; i < count; i++) {
        sum = (sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 32;
    }
    return (uint32_t)(sum >> 16);
}

#define PLAN_WORDS (sizeof(struct troupe__plan) / sizeof(uint64_t))

static uint32_t
plan_seal(const struct troupe__job *job, const struct troupe__plan *plan)
{
    struct troupe__plan open = *plan;
    uint64_t words[PLAN_WORDS];

    open.seal = 0;
    memcpy(words, &open, sizeof(words));
    return seal_of(job, words, PLAN_WORDS);
}

static uint64_t
map_bytes(const struct troupe__plan *plan)
{
    return (uint64_t)troupe__stream_words(plan) * sizeof(uint64_t);
}

uint64_t
troupe__plan_size(const struct troupe__plan *plan)
{
    if (plan->kind == TROUPE__JOB_STREAM)
        return troupe__round_up(
                   sizeof(struct troupe__stream) + 2 * map_bytes(plan), 64) +
               (uint64_t)plan->count * sizeof(struct troupe__task_slot);
    return troupe__round_up(sizeof(struct troupe__bulk) +
                                plan->cells * sizeof(struct troupe__cell) +
                                plan->count,
                            64) +
           (uint64_t)plan->count * sizeof(int32_t);
}

void
troupe__plan_write(struct troupe__job *job, struct troupe__plan *plan)
{
    plan->seal = plan_seal(job, plan);
    job->plan = *plan;
}

bool
troupe__plan_read(const struct troupe__job *job, struct troupe__plan *ret_plan)
{
    uint64_t size = troupe__block_size(job);
    const uint64_t *from;
    uint64_t words[PLAN_WORDS];
    unsigned i;

    /* 0 also of what is no block at all, nor aligned like one. */
    if (size < sizeof(struct troupe__bulk))
        return false;
    from = (const uint64_t *)(const void *)&job->plan;
    /* Once, whatever is written there meanwhile. */
    for (i = 0; i < PLAN_WORDS; i++)
        words[i] = troupe__load_relaxed(&from[i]);
    memcpy(ret_plan, words, sizeof(words));
    return ret_plan->seal == plan_seal(job, ret_plan) &&
           troupe__plan_size(ret_plan) <= size;
}

bool
troupe__plan_stands(const struct troupe__job *job,
                    const struct troupe__plan *plan, bool cancelled)
{
    return memcmp(&job->plan, plan, sizeof(*plan)) == 0 &&
           troupe__load_relaxed(&job->cancelled) == (uint32_t)cancelled;
}

void
troupe__bulk_view(struct troupe__bulk *bulk, const struct troupe__plan *plan,
                  struct troupe__bulk_view *ret_view)
{
    ret_view->bulk = bulk;
    ret_view->plan = *plan;
    ret_view->states = (uint8_t *)&bulk->cell[plan->cells];
    ret_view->statuses =
        (int32_t *)(void *)((char *)bulk + troupe__plan_size(plan) -
                            (uint64_t)plan->count * sizeof(int32_t));
}

void
troupe__stream_view(struct troupe__stream *stream,
                    const struct troupe__plan *plan,
                    struct troupe__stream_view *ret_view)
{
    ret_view->stream = stream;
    ret_view->plan = *plan;
    ret_view->window = plan->count;
    ret_view->words = troupe__stream_words(plan);
    ret_view->ready = (uint64_t *)(stream + 1);
    ret_view->done = ret_view->ready + ret_view->words;
    ret_view->slots =
        (struct troupe__task_slot *)(void *)((char *)stream +
                                             troupe__plan_size(plan) -
                                             (uint64_t)plan->count *
                                                 sizeof(
                                                     struct troupe__task_slot));
}

uint32_t
troupe__item_seal(const struct troupe__task_slot *slot, uint64_t item,
                  uint64_t item_size, uint64_t index)
{
    const uint64_t words[] = {item, item_size, index};

    return seal_of(slot, words, 3);
}
