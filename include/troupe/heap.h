/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared heap. Memory from troupe_alloc() lies at the same address in
 * every member of the family, so plain pointers work across processes:
 *
 *     struct node *n = troupe_alloc(sizeof(*n));
 *     n->next = list->first;        (another member may walk this)
 *
 * The family is the first process that calls into the library and every
 * process it starts, directly or not. The heap comes into being with the first
 * call and ends with the last member: nothing has a name, nothing is left
 * behind. A child made by the clone system call itself, behind the C library's
 * back, cannot be a member: what needs membership is -ENOTSUP there.
 *
 * A block belongs to the family, not to the process that asked for it: it
 * lives until somebody frees it or the family ends. A member may build a
 * result, hand its address on and exit. Memory that should die with its user
 * comes from a scope, see troupe/scope.h.
 *
 * Crash: a member killed inside any of these calls leaves the heap as it was
 * before the call or as it would be after it; the block in its hands is
 * reclaimed, and so are the blocks its threads had cached.
 */
#ifndef TROUPE_HEAP_H
#define TROUPE_HEAP_H

#include <troupe/base.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_heap_options {
    size_t size; /* sizeof(struct troupe_heap_options) */

    /* Bytes of address space to reserve, 64 MiB to 64 GiB, 0 = 64 GiB; halved
     * until the process may map it (RLIMIT_AS; RLIMIT_MEMLOCK after mlockall())
     * and may write a file of that size (RLIMIT_FSIZE). Reserving costs
     * nothing. */
    uint64_t window;

    /* Bytes that blocks may take at most, 0 = no limit but the window and the
     * machine. Beyond it allocation fails with ENOMEM. What the library needs
     * besides does not count: a page a thread, 256 bytes a process, and a 256th
     * of what blocks take. */
    uint64_t limit;

    /* Put the heap's pages into core dumps. */
    bool core_dump;
    uint8_t reserved_[7];
} troupe_heap_options;

/*
 * Chooses the heap's options before it exists. Without this call the first use
 * of the library creates a heap with the defaults.
 *
 * Returns 0: the heap exists, and this process is the root of a family.
 * -EBUSY: it exists already, nothing is changed. -EINVAL, -E2BIG: an option is
 * not allowed. -ENOMEM, -EMFILE, -ENFILE: the system has none left; -ENOTSUP:
 * it refuses what the heap needs, as a filter of system calls may do;
 * troupe_error_detail() has its word. A later call may try again.
 *
 * Never waits for another process. Thread-safe; not for signal handlers.
 */
TROUPE_API int troupe_heap_setup(const troupe_heap_options *options);

/*
 * `size` bytes of the family's memory, aligned to 16, not cleared. A size of 0
 * gives a block that holds nothing and has an address of its own.
 *
 * Returns NULL with errno set: ENOMEM (the heap's limit, the window or the
 * machine is exhausted; never a signal later), EUSERS (no thread slot), EMFILE
 * or ENFILE (there was no heap yet, and no descriptor to make it), ENOTSUP (a
 * child of clone(2), see above, or a heap that the system refuses). Nothing is
 * changed then.
 *
 * May wait, boundedly, for another member that is inside the allocator.
 * Thread-safe; no cancellation point. After fork both sides go on using the
 * heap. Not for signal handlers. Killed inside: the block is reclaimed.
 */
TROUPE_API TROUPE_MUST_CHECK void *troupe_alloc(size_t size);

/* The same for `count` times `size` bytes, cleared. ENOMEM also when the
 * product overflows. */
TROUPE_API TROUPE_MUST_CHECK void *troupe_calloc(size_t count, size_t size);

/*
 * Changes the size of a block, moving it if need be, as realloc(3) does:
 * `block` NULL allocates, `size` 0 keeps a block that holds nothing. On
 * failure (NULL, errno as troupe_alloc, or EINVAL for what troupe_free would
 * refuse) the old block is untouched. A block of a scope stays in it. Killed
 * inside: the old block is as it was, or the caller held the new one and both
 * are settled as free; its owner died.
 */
TROUPE_API TROUPE_MUST_CHECK void *troupe_realloc(void *block, size_t size);

/* A copy of a string. NULL and errno as troupe_alloc; EINVAL for NULL. */
TROUPE_API TROUPE_MUST_CHECK char *troupe_strdup(const char *text);

/*
 * Gives a block back. A block that was handed out by troupe_alloc() and its
 * like, or given to the family by troupe_scope_give(), any member may free,
 * whoever allocated it; one in a scope only the process that owns the scope.
 * NULL is fine.
 *
 * Returns 0, or -EINVAL for an address that is not such a block (never
 * allocated, inside a block, freed before and not allocated again since, in
 * another process's scope); -ENOMEM, -EUSERS, -ENOTSUP: this thread could not
 * join the family. Nothing happens then.
 *
 * Waiting and safety as troupe_alloc. When much more memory is free than in
 * use, the call gives some back to the system. Killed inside: the block is
 * freed, or as it was.
 */
TROUPE_API int troupe_free(void *block);

/* Bytes usable in a live block that the caller may free, at least what was
 * asked for; 0 for anything else. Never blocks; thread-safe. */
TROUPE_API size_t troupe_usable_size(const void *block);

/* Whether `size` bytes from `address` on lie inside the family's heap. Never
 * blocks; safe in threads and signal handlers. */
TROUPE_API bool troupe_heap_contains(const void *address, size_t size);

typedef struct troupe_heap_info {
    size_t size;         /* sizeof(struct troupe_heap_info), set by caller */
    uint64_t base;       /* first address of the window */
    uint64_t window;     /* bytes of address space */
    uint64_t limit;      /* bytes that blocks may take */
    uint64_t committed;  /* bytes of memory it has from the system now */
    uint64_t free_bytes; /* of these, free runs of pages */
    uint32_t members;    /* live processes of the family, and starting ones */
    uint32_t threads;    /* live threads that use the library */
} troupe_heap_info;

/* Fills in figures about the heap, each exact at some moment during the call;
 * of a struct with another size than this library's the fields that both know,
 * the rest with 0. 0; -EINVAL: NULL or no size at all; -ENOMEM, -EUSERS,
 * -EMFILE, -ENFILE, -ENOTSUP: this thread could not join the family. Boundedly
 * waits for the allocator's lock. Thread-safe; not for signal handlers. */
TROUPE_API int troupe_heap_info_get(troupe_heap_info *info);

TROUPE_END_DECLS

#endif
