/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenarios share: a place for them, and a heap to count blocks in. */
#ifndef TROUPE_TESTS_CRASH_COMMON_H
#define TROUPE_TESTS_CRASH_COMMON_H

#include "crash.h"

#include <troupe/heap.h>
#include <troupe/time.h>

#include <string.h>

/* Defines a scenario and puts it on the list. */
#define SCENARIO(id)                                     \
 static const struct crash_scenario id;                  \
 __attribute__((constructor)) static void add_##id(void) \
 {                                                       \
  scenario_add(&id);                                     \
 }                                                       \
 static const struct crash_scenario id

/* The same for a function that has no kill points. */
#define EXEMPT(id)                                       \
 static const struct crash_exempt id;                    \
 __attribute__((constructor)) static void add_##id(void) \
 {                                                       \
  exempt_add(&id);                                       \
 }                                                       \
 static const struct crash_exempt id

#define COVERS(...)            \
 (const struct crash_covers[]) \
 {                             \
  __VA_ARGS__,                 \
  {                            \
   NULL, NULL                  \
  }                            \
 }
#define FUNCTION(symbol) CRASH_COVERS(symbol)

void scenario_add(const struct crash_scenario *scenario);
void exempt_add(const struct crash_exempt *exempt);

/* Longer than any sound wait, shorter than for ever: a survivor that waits in
 * vain says so itself, where the engine's deadline does not come first. */
#define PATIENCE troupe_after(600)

/* Joins the family, so that the operation itself is all that is stepped. */
void join_family(void);

/* Zeroed memory of the family, or the end of the scenario. */
void *family_memory(size_t size);

/* ---- counting blocks ---- */

enum { COUNTED_SIZE = 1000 };

/*
 * A heap with a small limit, in which the blocks that fit are counted: what a
 * death leaks is then missing at the end.
 */
/* Counts blocks of another size: leaks show in the class they happen in. */
void counted_class(size_t size);
void limited_heap(void);
void counted_heap(void);
/* The same heap, still small: it has to grow to the size that is counted. */
void growing_heap(void);
/* The heap may grow to this limit; called before one of the others. */
void heap_limit(size_t limit);
/* Takes all that is left, in every class, and returns a list of it, which
 * anybody may give back. */
void *exhaust_heap(void);
void relieve_heap(void *taken);
/* What the dead left is put right by whoever looks. */
void settle_heap(void);
/* Visits each 64-byte step of the heap, until it is told that it was there. */
bool heap_steps(bool (*visit)(void *address, size_t size), size_t size);
/* A block of this size, 256 bytes or more, that the victim was given and could
 * not name any more; NULL if there is none. Blocks of others of about this size
 * are freed before. */
void *victims_block(size_t size);
/* Frees it; false if there is none. */
bool free_victims_block(size_t size);
/* In check(): what the words say that the (second) victim was handed is its own
 * still, and is freed; so is what it could not name any more. Nothing else is
 * missing. */
void handed_check(const unsigned *words, unsigned victims, size_t size);
/* In check(): at most `hands` blocks are missing, none is there twice, and
 * those that were allocated before have kept their content. */
void counted_check(unsigned hands);
/* Allocates, fills, compares and frees some blocks. */
void use_heap(void);
/* A block with a pattern in it, and is the pattern still there? */
void *patterned(size_t size, unsigned char pattern);
bool has_pattern(const void *block, size_t size, unsigned char pattern);

#endif
