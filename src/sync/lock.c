/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock. Its word is the internal lock word (heap/mutex.h); beside it stand
 * the mark that a holder's death leaves, and who that was:
 *
 *     field  written by                  a death leaves
 *     word_  acquire, release            a word whose holder is dead: taken
 *                                      over
 *     mark_  the holder; the taker-over  set before the taker-over returns; who
 *            of a dead holder            takes over from *it* sets it again
 *     dead_  the same                    a tag whose obituary tells who; a hint
 *     flags_ init only
 */
#include <troupe/lock.h>

#include "base/atomic.h"
#include "heap/detail.h"
#include "heap/family.h"
#include "heap/mutex.h"
#include "heap/options.h"
#include "heap/slot.h"

#include <string.h>

#define POISON  1u
#define UNOWNED 2u

/* Values of mark_. */
#define CLEAN        0u
#define INCONSISTENT 1u
#define GIVEN_UP     2u

_Static_assert(sizeof(troupe_lock) == 32, "frozen");
_Static_assert(_Alignof(troupe_lock) == 8, "frozen");

static bool
valid(const troupe_lock *lock)
{
    return lock != NULL && ((uintptr_t)lock & 7) == 0;
}

int
troupe_lock_init(troupe_lock *lock, const troupe_lock_options *options)
{
    troupe_lock_options o;
    int status;

    if (!valid(lock))
        return -EINVAL;
    status = troupe__options_copy(&o, sizeof(o), options);
    if (status == 0)
        status = troupe__options_unknown(o.reserved_, sizeof(o.reserved_));
    if (status < 0)
        return status;
    memset(lock, 0, sizeof(*lock));
    lock->flags_ = (o.poison ? POISON : 0) | (o.unowned ? UNOWNED : 0);
    return 0;
}

void
troupe_lock_fini(troupe_lock *lock)
{
    if (lock != NULL)
        memset(lock, 0, sizeof(*lock));
}

/* Held, but something is the matter: what acquire returns. */
static TROUPE__COLD int
marked(troupe_lock *lock)
{
    if (troupe__load_relaxed(&lock->mark_) == GIVEN_UP) {
        (void)troupe__word_release(&lock->word_);
        return -ENOTRECOVERABLE;
    }
    return TROUPE_OWNER_DIED;
}

static TROUPE__COLD int
acquire_slow(troupe_lock *lock, struct troupe__thread *self, uint64_t tag,
             troupe_deadline deadline)
{
    struct troupe__wait wait;
    uint64_t dead = 0;
    int status;

    if (troupe__load_relaxed(&lock->mark_) == GIVEN_UP)
        return -ENOTRECOVERABLE; /* whoever holds it is being told the same */
    troupe__wait_begin(&wait, self, lock, TROUPE__KIND_LOCK, deadline);
    status = troupe__word_acquire(&lock->word_, tag, &wait, &dead);
    troupe__wait_end(&wait);
    if (status == 1) {
        /* Killed before this is stored, we are a dead holder ourselves, and the
         * next one stores it. Given up stays given up. release: pairs with the
         * load in troupe_lock_obituary(), whose caller need not hold the lock.
         */
        troupe__store_relaxed(&lock->dead_, dead);
        if (troupe__load_relaxed(&lock->mark_) == CLEAN)
            troupe__store_release(&lock->mark_, INCONSISTENT);
    } else if (status < 0) {
        return status;
    }
    return 0;
}

int
troupe_lock_acquire(troupe_lock *lock, troupe_deadline deadline)
{
    struct troupe__thread *self;
    uint64_t free = 0;
    uint64_t tag;
    int status;

    if (TROUPE__UNLIKELY(!valid(lock)))
        return -EINVAL;
    self = troupe__thread_enter(&status);
    if (TROUPE__UNLIKELY(self == NULL))
        return status;
    tag = self->tag;
    if (TROUPE__UNLIKELY(lock->flags_ & UNOWNED))
        tag = TROUPE__NOBODY;
    /* acquire: pairs with the exchange in troupe__word_release. */
    if (TROUPE__UNLIKELY(!troupe__cas_acquire(&lock->word_, &free, tag))) {
        status = acquire_slow(lock, self, tag, deadline);
        if (status < 0)
            return status;
    }
    if (TROUPE__UNLIKELY(troupe__load_relaxed(&lock->mark_) != CLEAN))
        return marked(lock);
    return 0;
}

int
troupe_lock_release(troupe_lock *lock)
{
    if (TROUPE__UNLIKELY(!valid(lock)))
        return -EINVAL;
    /* Whoever releases a poisoning lock with its mark on gives it up. Between
     * this and the release the lock is held: nobody can see it half done. The
     * swap fails against a holder that repairs it while somebody else releases
     * it. */
    if (TROUPE__UNLIKELY(troupe__load_relaxed(&lock->mark_) == INCONSISTENT) &&
        (lock->flags_ & POISON) && troupe_lock_locked(lock)) {
        uint32_t mark = INCONSISTENT;

        (void)troupe__cas_relaxed(&lock->mark_, &mark, GIVEN_UP);
    }
    return TROUPE__LIKELY(troupe__word_release(&lock->word_) != 0) ? 0 : -EPERM;
}

int
troupe_lock_consistent(troupe_lock *lock)
{
    uint32_t mark = INCONSISTENT;
    uint64_t holder;

    if (!valid(lock))
        return -EINVAL;
    holder = troupe__load_relaxed(&lock->word_) & ~TROUPE__WAITERS;
    if (holder == 0 || holder != troupe__thread_self->tag)
        return -EPERM;
    return troupe__cas_relaxed(&lock->mark_, &mark, CLEAN) ? 0 : -EINVAL;
}

bool
troupe_lock_locked(const troupe_lock *lock)
{
    return valid(lock) && troupe__load_relaxed(&lock->word_) != 0;
}

int
troupe_lock_obituary(const troupe_lock *lock, troupe_obituary *ret_obituary)
{
    struct troupe__obituary found;
    uint64_t dead;

    if (!valid(lock) || ret_obituary == NULL)
        return -EINVAL;
    /* acquire: pairs with the store in acquire_slow(). */
    if (troupe__load_acquire(&lock->mark_) == CLEAN)
        return -ENOENT;
    dead = troupe__load_relaxed(&lock->dead_);
    memset(ret_obituary, 0, sizeof(*ret_obituary));
    if (!troupe__obituary_find(dead, &found))
        return 0;
    ret_obituary->pid = found.pid;
    ret_obituary->tid = found.tid;
    ret_obituary->when = found.when;
    memcpy(ret_obituary->name, found.name, sizeof(ret_obituary->name));
    return 0;
}
