/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock word: holder and waiters in one atomic.
 *
 *     0                free
 *     tag [| WAITERS]  held by the thread that the tag names
 *
 * Acquire is one compare-and-swap, release one exchange. A word whose holder is
 * dead may be taken over by anybody with a compare-and-swap; nothing but proof
 * of death (troupe__tag_dead) permits that.
 *
 * A killed thread leaves: before the CAS nothing, after it a word of a dead
 * holder; after the exchange and before the wake a free word whose sleepers
 * find out by their bound, or at once where they sleep on the dead thread's
 * token.
 */
#ifndef TROUPE_SRC_HEAP_MUTEX_H
#define TROUPE_SRC_HEAP_MUTEX_H

#include "base/atomic.h"
#include "heap/family.h"
#include "heap/layout.h"
#include "heap/wait.h"
#include "os/clock.h"
#include "os/futex.h"

#include <limits.h>

/* A word held by nobody in particular (.unowned): never dead. */
#define TROUPE__NOBODY TROUPE__TAG_MARK

/* How long to wait for a lock whose holder is inside when the caller wants to
 * wait for nothing: it may have been stopped there. */
#define TROUPE__LOCK_BOUND (50 * TROUPE__MS)

/* The futex is the low half of the word. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "see above");

/* The slow path: `tag` is what to put into the word. 0; 1: taken over,
 * *ret_dead names the dead holder; or what troupe__wait_sleep returned. */
int troupe__word_acquire(uint64_t *word, uint64_t tag,
                         struct troupe__wait *wait, uint64_t *ret_dead);

/* Frees the word; what it held before. Async-signal-safe. */
static inline uint64_t
troupe__word_release(uint64_t *word)
{
    /* seq_cst: pairs with the acquire CAS of the next holder, and orders the
     * release before the look at any event word that follows it (queues). */
    uint64_t old = troupe__exchange_seq_cst(word, UINT64_C(0));

    if (TROUPE__UNLIKELY(old & TROUPE__WAITERS))
        troupe__futex_wake((const uint32_t *)word, 1);
    return old;
}

int troupe__mutex_acquire_slow(struct troupe__thread *self,
                               struct troupe__mutex *mutex,
                               troupe_deadline deadline, uint64_t *ret_dead);

/*
 * An internal lock. 0: held. 1: held, taken over from a thread that died inside
 * (*ret_dead, if not NULL, names it): the caller must bring what the lock
 * protects into order before anything else; if it dies in that, the next one
 * gets 1 again. -ETIMEDOUT: not held. The caller holds it for a bounded number
 * of instructions and calls nothing that waits for anything else than another
 * internal lock further down in the order: size class, then pages.
 */
static inline int
troupe__mutex_acquire(struct troupe__thread *self, struct troupe__mutex *mutex,
                      troupe_deadline deadline, uint64_t *ret_dead)
{
    uint64_t free = 0;

    self->locks++;
    if (TROUPE__LIKELY(troupe__cas_acquire(&mutex->word, &free, self->tag)))
        return 0;
    return troupe__mutex_acquire_slow(self, mutex, deadline, ret_dead);
}

static inline void
troupe__mutex_release(struct troupe__thread *self, struct troupe__mutex *mutex)
{
    (void)troupe__word_release(&mutex->word);
    self->locks--;
}

#endif
