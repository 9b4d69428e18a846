/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small blocks. A slab is a run of pages cut into equal blocks, with an owner
 * word for each at its beginning; a thread moves blocks between slabs and its
 * own magazine in batches, under the lock of the size class, and allocates and
 * frees from the magazine without any lock.
 *
 * The owner words are the truth. Everything else in a slab (how many are free,
 * the list of slabs that have some) is derived, and made anew by whoever takes
 * the class lock from a dead thread.
 */
#ifndef TROUPE_SRC_HEAP_SLAB_H
#define TROUPE_SRC_HEAP_SLAB_H

#include "heap/family.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger blocks are runs of pages of their own. */
#define TROUPE__LARGEST_SMALL 8192u

/* Class of a size, at most TROUPE__LARGEST_SMALL, and size of a class. A class
 * above 64 bytes whose size is asked for as a multiple of 64 gives blocks
 * aligned to 64. */
uint32_t troupe__class_of(size_t size);
uint32_t troupe__class_size(uint32_t size_class);

/* How many blocks of a class a magazine takes. */
uint32_t troupe__class_magazine(uint32_t size_class);

/* Fills the calling thread's magazine, which is empty or whose count is none;
 * false: no memory. */
bool troupe__slab_refill(struct troupe__thread *self, uint32_t size_class);

/* Gives half of the calling thread's full magazine back. */
void troupe__slab_drain(struct troupe__thread *self, uint32_t size_class);

/* The owner word of a small block, and its class; NULL when there is no block
 * at exactly this address. `page` is the address's page, of a slab. */
uint32_t *troupe__slab_owner(const void *block, uint32_t page,
                             uint32_t *ret_class);

/* Frees what the magazines of a slot whose stay is over still hold. */
void troupe__slab_recover(struct troupe__thread *self,
                          struct troupe__slot *slot, uint32_t index);

#endif
