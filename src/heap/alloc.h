/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator as the library's other layers see it: blocks with an owner.
 *
 * A block is at every instant free, cached by a thread, held by an object of
 * the library, or handed out to the family; its owner word says which
 * (TROUPE__OWNER_...). A held block dies with its holder: every holder keeps a
 * list of what it may hold, and frees on its end what the owner words confirm.
 */
#ifndef TROUPE_SRC_HEAP_ALLOC_H
#define TROUPE_SRC_HEAP_ALLOC_H

#include "heap/family.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Owner word of blocks held by the object at this address (in the heap, a
 * multiple of 64). */
static inline uint32_t
troupe__owner_held(const void *object)
{
    return TROUPE__OWNER_HELD |
           (uint32_t)(troupe__family_offset(object) >> TROUPE__UNIT_SHIFT);
}

/* Owner word of blocks handed out by this thread. */
static inline uint32_t
troupe__owner_given(const struct troupe__thread *self)
{
    return TROUPE__OWNER_GIVEN | self->index;
}

/*
 * Allocates a block. It passes to `owner` after its offset / 16 was stored to
 * *record, so that a holder's list is never behind the owner word; a death in
 * between leaves the block free. `record` may be NULL for TROUPE__OWNER_GIVEN.
 * NULL: no memory.
 */
void *troupe__block_new(struct troupe__thread *self, size_t size,
                        uint32_t owner, uint32_t *record);

/* Allocates a block held by the calling thread, to be passed on when what it
 * is made for stands. NULL: no memory, or TROUPE__HELD blocks held already. */
void *troupe__block_hold(struct troupe__thread *self, size_t size);

/* The entry of the thread's list for a block it is about to receive (or has):
 * store the block's record there, then pass the block to
 * troupe__owner_held(self->slot). NULL: the list is full. */
uint32_t *troupe__block_held_entry(struct troupe__thread *self,
                                   const void *block);

/* Frees a block if `owner` is what its owner word holds; false (nothing
 * happened) otherwise: not a block, free, or somebody else's. */
bool troupe__block_free(struct troupe__thread *self, void *block,
                        uint32_t owner);

/* Passes a block on: one compare-and-swap. False: `from` did not own it. */
bool troupe__block_pass(void *block, uint32_t from, uint32_t to);

/* Bytes of a block in whatever hands; 0 for what is no block. */
size_t troupe__block_size(const void *block);

/* Owner word of a block's address, 0 when it is free or no block. */
uint32_t troupe__block_owner(const void *block);

/*
 * Two steps of settling what a dead (or leaving) thread has left; the caller
 * holds the slot's token and is in the family. First what it was allocating or
 * freeing and what it had cached: a thread that has taken the slot over frees
 * through the same words, and so does nothing before. Then what it held.
 */
void troupe__alloc_recover_begun(struct troupe__slot *slot, uint32_t index);
void troupe__alloc_recover_held(struct troupe__slot *slot, uint32_t index);

/* Conversion between a block's address and what lists record. */
static inline uint32_t
troupe__block_record(const void *block)
{
    return (uint32_t)(troupe__family_offset(block) >> 4);
}

static inline void *
troupe__block_at(uint32_t record)
{
    return troupe__family_at((uint64_t)record << 4);
}

#endif
