/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of pages: what slabs and large blocks are made of.
 *
 * The arena is a sequence of runs, each described by one word at its first
 * page (see layout.h). Every change of the sequence is one store of such a
 * word, made when all that the new sequence needs stands already; so whoever
 * takes the page lock from a dead thread finds either the old or the new
 * sequence, and derives everything else (bins, footers) from it anew.
 */
#ifndef TROUPE_SRC_HEAP_PAGES_H
#define TROUPE_SRC_HEAP_PAGES_H

#include "base/atomic.h"
#include "heap/family.h"
#include "heap/layout.h"

#include <stdbool.h>
#include <stdint.h>

#define TROUPE__NO_PAGE UINT32_MAX

static inline struct troupe__page *
troupe__page_at(uint32_t page)
{
    return (struct troupe__page *)troupe__family_at(TROUPE__PAGES_OFFSET) +
           page;
}

static inline uint64_t
troupe__page_head(enum troupe__page_state state, uint32_t length,
                  uint32_t size_class)
{
    return (uint64_t)length << 32 | (uint64_t)size_class << 8 | state;
}

static inline enum troupe__page_state
troupe__page_state(uint64_t head)
{
    return (enum troupe__page_state)(head & 7);
}

static inline uint32_t
troupe__page_length(uint64_t head)
{
    return (uint32_t)(head >> 32);
}

static inline bool
troupe__page_is_hollow(uint64_t head)
{
    return (head >> 8 & TROUPE__PAGE_HOLLOW) != 0;
}

static inline uint32_t
troupe__page_class(uint64_t head)
{
    return (uint32_t)(head >> 8) & 0xff;
}

static inline void *
troupe__page_memory(uint32_t page)
{
    return troupe__family_at(troupe__family.arena_offset +
                             (uint64_t)page * TROUPE__PAGE);
}

/* Page of an offset in the arena; TROUPE__NO_PAGE outside the sequence. */
uint32_t troupe__page_of(uint64_t offset);

/* The descriptor that a link (index + 1, not 0) names in a list of free runs or
 * of slabs; one that is nobody's when a wild store has made it name anything
 * else. */
struct troupe__page *troupe__page_linked(uint32_t number,
                                         enum troupe__page_state state);

/*
 * Takes a run of `count` pages as a large block held by the calling thread,
 * named in its slot's run_page until the caller has passed it on. Returns the
 * first page, or TROUPE__NO_PAGE when there is no memory.
 */
uint32_t troupe__pages_new(struct troupe__thread *self, uint32_t count);

/* Gives back a run that the calling thread holds (owner word and run_page say
 * so); run_page names nothing afterwards. When that leaves far more free than
 * is in use, memory goes back to the system, which may take it a while: under a
 * lock of the library this is left to troupe__pages_trim(), to be called when
 * the lock is free. */
void troupe__pages_free(struct troupe__thread *self, uint32_t page);
void troupe__pages_trim(struct troupe__thread *self);

/* Calls `visit` for every run, under the page lock. */
void troupe__pages_walk(struct troupe__thread *self,
                        void (*visit)(uint32_t page, uint64_t head,
                                      void *context),
                        void *context);

/* Figures for troupe_heap_info_get(). */
void troupe__pages_count(struct troupe__thread *self, uint64_t *ret_committed,
                         uint64_t *ret_free);

#endif
