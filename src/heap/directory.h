/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object directory: what the family has made, for recovery and for the
 * inspector. Every sized object begins with a struct troupe__object.
 */
#ifndef TROUPE_SRC_HEAP_DIRECTORY_H
#define TROUPE_SRC_HEAP_DIRECTORY_H

#include "heap/family.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Allocates `size` bytes for an object of a kind (64-byte aligned), of which
 * the first `cleared` are zeroed, and fills in its header. The object is the
 * caller thread's until published: a death before that frees it. NULL: no
 * memory.
 */
void *troupe__object_new(struct troupe__thread *self, enum troupe__kind kind,
                         size_t size, size_t cleared, const char *name);

/* Enters the finished object in the directory: from here on it is the
 * family's. 0 or -ENOMEM (the object is freed then). */
int troupe__object_publish(struct troupe__thread *self, void *address);

/* Makes the object the calling thread's: from here on it dies with it. The
 * first half of freeing it, for kinds that hold something. May be repeated.
 * False: it is no object any more, or another thread frees it. */
bool troupe__object_claim(struct troupe__thread *self, void *object);

/* Takes the object out of the directory and its magic away: who takes the
 * directory's lock from here on does not find it, and so what it holds may be
 * freed without that lock. It is the caller's (troupe__object_claim), or a dead
 * thread's that is being recovered; may be repeated. */
void troupe__object_detach(struct troupe__object *object);

/* Whether what a thread holds is an object of this kind, detached or not. */
bool troupe__object_held(const void *block, enum troupe__kind kind);

/* Takes the object out of the directory and frees it. For kinds that walkers
 * change, the caller holds the directory's lock, or has held it when it took
 * the object out. */
void troupe__object_free(struct troupe__thread *self, void *address);

/*
 * The directory's lock keeps objects from being freed. False: not held, for its
 * holder was stopped, or takes long; what was to be done under it is not done.
 * While holding it the caller may take the locks of objects and the
 * allocator's.
 */
bool troupe__directory_lock(struct troupe__thread *self);
void troupe__directory_unlock(struct troupe__thread *self);

/* Whether the calling thread holds it. */
bool troupe__directory_locked(const struct troupe__thread *self);

/* The object of this kind at an address that a user gave; NULL when there is
 * none: not 64-byte aligned, outside the arena, or without the right magic,
 * which an object loses when it is freed. */
void *troupe__object_check(const void *address, enum troupe__kind kind);

/* Whether a block is a page of the directory. */
bool troupe__directory_has_page(const void *block);

/* Calls `visit` for every object of a kind; objects may come and go meanwhile
 * (go only where the caller does not hold the lock), each that lives throughout
 * is visited once. */
void troupe__directory_walk(enum troupe__kind kind,
                            void (*visit)(void *object, void *context),
                            void *context);

#endif
