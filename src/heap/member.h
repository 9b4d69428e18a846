/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Member records: one per process of the family.
 */
#ifndef TROUPE_SRC_HEAP_MEMBER_H
#define TROUPE_SRC_HEAP_MEMBER_H

#include "heap/family.h"

#include <stdbool.h>
#include <stdint.h>

/* A member, named for good: record and generation. 0 in `number`: nobody. */
struct troupe__member_ref {
    uint32_t number; /* index + 1 */
    uint32_t generation;
};

/* What a child is told at its birth, by a copy of the parent's memory: it does
 * not ask its record, which may be another's by the time it looks. */
struct troupe__birth {
    struct troupe__member_ref member;
    struct troupe__member_ref parent;
    uint64_t parent_tag; /* the thread that starts it */
    uint64_t name_space; /* of the parent */
    int32_t parent_pid;
};

/*
 * Makes the record of a child that is about to be started, so that it can be
 * declared to queues before it exists. The caller's thread is its parent. 0,
 * -ENOMEM, -EUSERS.
 */
int troupe__member_prepare(const char *name, uint32_t flags,
                           struct troupe__birth *ret_birth);

/* Called by the parent once the child exists and the parent can tell its end:
 * the child may go on, see troupe__member_await(). */
void troupe__member_started(struct troupe__member_ref ref, int32_t pid);

/*
 * The first act of a child, before it belongs to the family: waits until the
 * parent has called troupe__member_started(), so that a child never runs, let
 * alone ends, before its parent holds a descriptor for it. 0; -EPIPE: the
 * parent died before that.
 */
int troupe__member_await(const struct troupe__birth *birth);

/*
 * The second: takes the prepared record for its own and joins the family with
 * the calling thread. 0; -EPIPE: the family has declared this child dead (its
 * parent died in start); the child must leave at once; or as
 * troupe__thread_join().
 */
int troupe__member_adopt(const struct troupe__birth *birth);

/* Asks the member to stop. Nothing happens when it has ended. */
void troupe__member_stop(struct troupe__member_ref ref);

/* Asks the calling process to stop, if it has a record. Async-signal-safe. */
void troupe__member_stop_here(void);

/* What the member wrote before its exit (see layout.h), also when others have
 * recovered its record since; 0: nothing, or too long ago. */
uint32_t troupe__member_exit_record(struct troupe__member_ref ref);

/* The calling process's record, NULL when it has none. Async-signal-safe. */
struct troupe__member *troupe__member_here(void);

/* Names the calling process's record, from one thread at a time. Whoever dies
 * in here has its old name, its new one or none, never a part of each. */
void troupe__member_rename(struct troupe__member *here, const char *name);

/* The calling process's record, joining if need be; NULL: *ret_error. */
struct troupe__member *troupe__member_self(int *ret_error);

/* The record, or NULL when the generation has moved on. */
struct troupe__member *troupe__member_find(struct troupe__member_ref ref);

/* Whether the process has ended, or never came. True stays true. */
bool troupe__member_dead(struct troupe__member_ref ref);

/* Whether a child of the process lives, or may come to. Once the process is
 * dead, false stays false. */
bool troupe__member_has_children(struct troupe__member_ref ref);

/* The parent knows that the child has ended, from its pidfd, or that it never
 * came, for the start failed: takes the record back, and saves the others the
 * proof. */
void troupe__member_ended(struct troupe__member_ref ref);

/* Recovers records of processes all of whose threads are dead; called by
 * troupe__slots_recover(). */
unsigned troupe__members_recover(void);

/* Asks the system which processes have ended though threads of them look alive,
 * because the kernel could not mark their tokens. Costs system calls for every
 * member, so it does nothing when somebody has just done it. */
void troupe__members_census(int64_t now);

/* For the joining thread: the process's record, made unless there is one. */
int troupe__member_join(uint32_t *ret_number);

#endif
