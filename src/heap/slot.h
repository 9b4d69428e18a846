/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thread slots: who lives, and what the dead leave behind.
 */
#ifndef TROUPE_SRC_HEAP_SLOT_H
#define TROUPE_SRC_HEAP_SLOT_H

#include "base/atomic.h"
#include "heap/family.h"

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>

/* The futex word in a slot's token, which the kernel marks. */
static inline uint32_t *
troupe__slot_token(struct troupe__slot *slot)
{
    return (uint32_t *)(void *)(slot->token.room + troupe__family.token_word);
}

static inline bool
troupe__token_alive(uint32_t token)
{
    return (token & FUTEX_OWNER_DIED) == 0 && (token & FUTEX_TID_MASK) != 0;
}

/* The slot a tag names, or NULL for a word that is no tag (damage). */
static inline struct troupe__slot *
troupe__tag_slot(uint64_t tag)
{
    uint32_t number = (uint32_t)(tag & TROUPE__TAG_SLOT);

    if ((tag & TROUPE__TAG_MARK) == 0 || number == 0 ||
        number > TROUPE__SLOTS ||
        number > troupe__load_relaxed(&troupe__family.heap->slots_high))
        return NULL;
    return troupe__slot_at(number - 1);
}

/* troupe__tag_dead() without the order that a verdict of death takes. */
static inline bool
troupe__tag_seems_dead(uint64_t tag)
{
    struct troupe__slot *slot = troupe__tag_slot(tag);
    uint32_t generation = (uint32_t)(tag >> 32);

    if (slot == NULL)
        return true;
    /* The token first: a slot taken over by another thread shows a live token
     * and then, because the generation is raised before the token is freed, a
     * newer generation. */
    if (!troupe__token_alive(troupe__load_acquire(troupe__slot_token(slot))))
        return true;
    return troupe__load_acquire(&slot->generation) != generation ||
           troupe__load_acquire(&slot->dead_generation) == generation;
}

/*
 * Whether the thread that `tag` names (without the waiters bit) is dead. Only
 * proof gives true. (For the few instructions between a recoverer's taking the
 * token and its first store a dead thread may look alive once more: that costs
 * a look, nothing else.) A word that is no tag counts as dead, so that a
 * damaged lock is taken over and not waited for without end.
 *
 * The caller has read the tag from somewhere, and what it reads of the slot
 * may be older than that: the token of a thread that has just come, still free.
 * So death is looked at twice, with a fence in between that pairs with the one
 * in slot_occupy(): behind it, the slot is seen as it was when the tag was
 * made, or later.
 *
 * acquire: pairs with the kernel's or the owner's last stores; what the dead
 * thread wrote is visible to who learns of its death here.
 */
static inline bool
troupe__tag_dead(uint64_t tag)
{
    if (!troupe__tag_seems_dead(tag))
        return false;
    troupe__fence_seq_cst();
    return troupe__tag_seems_dead(tag);
}

/* Looks at every slot and recovers those whose thread has died; returns how
 * many. Does nothing while the caller holds an internal lock. What cannot be
 * settled now, because a lock is not to be had, is left to the next call, by
 * whomever. */
unsigned troupe__slots_recover(void);

/* The same for one slot. */
void troupe__slot_recover(uint32_t index);

/* After a long wait for `tag`: asks the system whether its process has ended,
 * in case the kernel could not mark the token. True: it is dead, and
 * troupe__tag_dead() says so from now on. */
bool troupe__slot_verify(uint64_t tag);

/* The process of this member has ended, though threads of it look alive: says
 * so of each. */
void troupe__slots_condemn(uint32_t member, uint32_t generation);

/* Writes the obituaries of the threads of a dead member that still stand in
 * their slots: whoever recovers these later does not find the record any more,
 * and with it the name. */
void troupe__slots_mourn(uint32_t member, uint32_t generation);

/* Claims a slot for the calling thread and fills in `thread`. It may be a dead
 * thread's, and then nothing is written to it before it is inherited;
 * without `replace` slots that a dead thread has left are passed over. */
int troupe__slot_claim(struct troupe__thread *thread, bool replace);

/* Whether what stands in the thread's slot is its own. */
static inline bool
troupe__slot_is_own(const struct troupe__thread *thread)
{
    return troupe__load_relaxed(&thread->slot->contents) ==
           (uint32_t)(thread->tag >> 32);
}

/* Settles what the thread's slot still holds of a dead one. False: not to be
 * had now, and the slot must be left. */
bool troupe__slot_inherit(const struct troupe__thread *thread);

/* Calls the members' hooks; the caller holds the directory's lock. False: there
 * is more to settle, later. */
bool troupe__recovery_member(uint32_t number, uint32_t generation);

/* Tells the upper layers that this process has become a member. */
void troupe__recovery_joined(void);

/* Gives the calling thread's slot up: what it still holds counts as held by a
 * dead thread. Where that cannot be settled now, others will. */
void troupe__slot_leave(struct troupe__thread *thread);

/* Copies the obituary of a tag that is dead; false when it is too long ago. */
bool troupe__obituary_find(uint64_t tag, struct troupe__obituary *ret);

/* What upper layers do when a thread or a process has died. Called with the
 * exclusive right to the record, once or, when the recoverer dies, again. */
struct troupe__recovery {
    /* Both with the directory's lock: others wait for it, so nothing that takes
     * long. False: not all is settled, and it is to be called again. */
    void (*slot)(struct troupe__slot *slot, uint64_t tag);
    bool (*member)(uint32_t member, uint32_t generation);
    /* After `slot` and without the lock: frees what the thread's objects hold.
     * They themselves are freed after it. */
    void (*held)(struct troupe__slot *slot);
    /* Not of the dead: this process has become a member. */
    void (*joined)(void);
};

/* Adds hooks; from constructors only. */
void troupe__recovery_add(const struct troupe__recovery *recovery);

#endif
