/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process's place in its family: where the heap is mapped, which member
 * record and which thread slots are its own.
 *
 * A child made by fork, in whatever way, must not take its parent's place for
 * its own. So what names the place lies in pages that the kernel zeroes in the
 * child: a tag of 0 means "not in the family yet", and the next call joins.
 */
#ifndef TROUPE_SRC_HEAP_FAMILY_H
#define TROUPE_SRC_HEAP_FAMILY_H

#include "base/macros.h"
#include "heap/layout.h"
#include "os/memory.h"

#include <troupe/heap.h>

#include <stdbool.h>
#include <stdint.h>

/* The mapping: inherited by fork, constant once made. */
struct troupe__family {
    struct troupe__heap *heap; /* NULL until there is one */
    uint64_t base;
    uint64_t window;
    int fd;
    struct troupe__file_id file;
    /* Copies of what the header says, which a wild store cannot reach. */
    uint64_t arena_offset;
    uint32_t arena_pages;
    uint32_t token_word;
};

extern struct troupe__family troupe__family;

/* Per thread, zeroed in a fork child. */
struct troupe__thread {
    uint64_t tag; /* 0: this thread is not in the family */
    struct troupe__slot *slot;
    uint32_t index;      /* of the slot */
    uint32_t member;     /* index + 1 of this process's record */
    uint32_t locks;      /* internal locks held: no recovery meanwhile */
    uint32_t stoppable;  /* depth of stoppable sections */
    uint32_t processors; /* this thread may run on; refreshed when it sleeps */
    int32_t tid;         /* 0: not asked for yet */
    int64_t processors_seen;
    int64_t polls; /* before it yields or sleeps; see ipc/queue_wait.c */
};

/* Per process, zeroed in a fork child. */
struct troupe__place {
    /* Its record: generation << 32 | index + 1; 0: none yet. One word and CAS,
     * for threads join at once. */
    uint64_t self;
    uint64_t name_space; /* pid namespace; 0: not looked up yet */
    uint64_t moment;     /* of this process's life; 0: none noted yet */
    int32_t pid;         /* 0: not asked for yet */
    int32_t reserved_;
    uint64_t epoch; /* for src/process: 0 until it has noticed the fork */
    /* What `self` was when those who poll were told that it has come. */
    uint64_t announced;
};

/* Never NULL: points to a thread with tag 0 until the thread has joined. */
extern __thread struct troupe__thread *troupe__thread_self;

/* Makes the calling thread part of the family, creating the heap, the
 * process's record and the slot as needed. 0, -ENOMEM, -EUSERS, -EMFILE,
 * -ENFILE; sets the error detail. */
int troupe__thread_join(void);

/* The calling thread, joined; or NULL with *ret_error < 0. */
static inline struct troupe__thread *
troupe__thread_enter(int *ret_error)
{
    struct troupe__thread *self = troupe__thread_self;

    if (TROUPE__UNLIKELY(self->tag == 0)) {
        *ret_error = troupe__thread_join();
        if (*ret_error < 0)
            return NULL;
        self = troupe__thread_self;
    }
    return self;
}

/* This process's place, made if need be; NULL: no memory. */
struct troupe__place *troupe__place_get(void);

/* The same, NULL if none has been made. Async-signal-safe. */
struct troupe__place *troupe__place_peek(void);

/* The pid namespace of this process, see troupe__task_namespace(). A process
 * never changes its own, so it is looked up once. */
uint64_t troupe__family_namespace(void);

/* This process's number in its own pid namespace. */
int32_t troupe__family_pid(void);

/* A moment of this process's life, see troupe__task_moment(): always the same
 * one. */
uint64_t troupe__family_moment(void);

/* Creates the heap unless there is one. *ret_created tells. */
int troupe__family_create(const troupe_heap_options *options,
                          bool *ret_created);

/* Takes memory for a range of the window. 0 or -ENOMEM, and then a part of it
 * may be taken. */
int troupe__family_commit(uint64_t offset, uint64_t size);

/* Gives the memory of a range that nobody uses back to the system. */
void troupe__family_discard(uint64_t offset, uint64_t size);

/* Bytes of memory that the heap takes; 0: it cannot be told. */
uint64_t troupe__family_committed(void);

static inline void *
troupe__family_at(uint64_t offset)
{
    return (void *)(uintptr_t)(troupe__family.base + offset);
}

static inline uint64_t
troupe__family_offset(const void *address)
{
    return (uint64_t)(uintptr_t)address - troupe__family.base;
}

/* The record's address; `index` < TROUPE__MEMBERS or TROUPE__SLOTS. */
static inline struct troupe__member *
troupe__member_at(uint32_t index)
{
    return (struct troupe__member *)troupe__family_at(TROUPE__MEMBERS_OFFSET) +
           index;
}

static inline struct troupe__slot *
troupe__slot_at(uint32_t index)
{
    return (struct troupe__slot *)troupe__family_at(TROUPE__SLOTS_OFFSET) +
           index;
}

#endif
