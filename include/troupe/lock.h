/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mutual exclusion lock for the members of a family, as Python's
 * multiprocessing.Lock, with one thing more: the death of its holder is
 * noticed and told.
 *
 *     int status = troupe_lock_acquire(&shared->lock, TROUPE_FOREVER);
 *     if (status < 0)
 *         return status;
 *     if (status == TROUPE_OWNER_DIED) {
 *         repair(shared);
 *         troupe_lock_consistent(&shared->lock);
 *     }
 *     ...
 *     troupe_lock_release(&shared->lock);
 *
 * The struct is visible so that it can stand inside any struct in the heap; a
 * zeroed one is ready. Its fields are the library's. In private memory it
 * works among the threads of one process (and a fork copies it: useless
 * across that).
 *
 * The holder is the thread that acquired it. As in Python any member may
 * release it, and the holder acquiring it again waits (for itself, until the
 * deadline or for ever; there is no -EDEADLK).
 *
 * Crash: when the holder dies, by any signal, by exit or by the end of its
 * thread, the next acquire returns TROUPE_OWNER_DIED, holding the lock: within
 * a millisecond where the kernel has futex_waitv, else within a second. The
 * mark is sticky: every later acquire returns it again until
 * troupe_lock_consistent(). A member killed while waiting, or between any two
 * instructions of acquire and release, leaves nothing to notice.
 */
#ifndef TROUPE_LOCK_H
#define TROUPE_LOCK_H

#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/time.h>

TROUPE_BEGIN_DECLS

/* Private: declared only so that it can be embedded. */
typedef struct troupe_lock {
    uint64_t word_;
    uint32_t mark_;
    uint32_t flags_;
    uint64_t dead_;
    uint64_t reserved_;
} troupe_lock;

typedef struct troupe_lock_options {
    size_t size; /* sizeof(struct troupe_lock_options) */

    /* Releasing the lock after TROUPE_OWNER_DIED without
     * troupe_lock_consistent() makes it -ENOTRECOVERABLE for everybody. */
    bool poison;

    /* The lock has no holder: nobody's death is noticed. For programs that
     * hand a held lock to another process and exit. */
    bool unowned;
    uint8_t reserved_[6];
} troupe_lock_options;

/* Who died holding a lock. */
typedef struct troupe_obituary {
    int32_t pid;   /* in the dead process's pid namespace; 0 = not known */
    int32_t tid;   /* the thread that held the lock */
    int64_t when;  /* troupe_clock() when its death was noticed */
    char name[32]; /* the process's name, "" when not known */
} troupe_obituary;

/*
 * Makes a lock with options, free. Not needed for a zeroed one without
 * options. 0; -EINVAL (NULL, misaligned), -E2BIG. Nobody may be using it.
 * Never blocks.
 */
TROUPE_API int troupe_lock_init(troupe_lock *lock,
                                const troupe_lock_options *options);

/* Ends the use of a lock: it is zeroed. A lock has nothing to give back; the
 * call exists so that every primitive has one. NULL is fine. */
TROUPE_API void troupe_lock_fini(troupe_lock *lock);

/*
 * Takes the lock, waiting until the deadline.
 *
 *   0                   the caller holds it
 *   TROUPE_OWNER_DIED   the caller holds it; a holder died and nobody has
 *                       called troupe_lock_consistent() since
 *   -ETIMEDOUT          not held: the deadline passed (TROUPE_NOW: it is held
 *                       by somebody)
 *   -ENOTRECOVERABLE    not held and never again, see .poison
 *   -ECANCELED          not held: asked to stop, in a stoppable section
 *   -EINVAL             NULL or misaligned
 *   -ENOMEM, -EUSERS, -EMFILE, -ENFILE, -ENOTSUP
 *                       not held: this thread could not join the family
 *
 * Woken by a release or by the holder's death. No fairness is promised: a
 * running thread may overtake a woken one. Acquire pairs with release: what
 * was written before a release is seen after the next acquire. Thread-safe;
 * after fork the child does not hold what its parent's thread holds. Not for
 * signal handlers.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_lock_acquire(troupe_lock *lock,
                                                     troupe_deadline deadline);

/*
 * Frees the lock, whoever holds it (Python's Lock semantics), and wakes one
 * waiter. 0; -EPERM: it was free, nothing happened; -EINVAL. Releasing a lock
 * whose holder is dead is an ordinary release. Never blocks; thread-safe;
 * async-signal-safe. Killed inside: held or free, nothing between.
 */
TROUPE_API int troupe_lock_release(troupe_lock *lock);

/* Declares the data under the lock repaired: the mark set by a holder's death
 * is taken away. Call it while holding the lock. 0; -EINVAL: no mark is set;
 * -EPERM: the caller does not hold it. Never blocks; async-signal-safe. */
TROUPE_API int troupe_lock_consistent(troupe_lock *lock);

/* Whether somebody holds it at this moment; a dead holder counts. Cannot fail
 * (NULL: false), never blocks; async-signal-safe. Python 3.14's locked(). */
TROUPE_API bool troupe_lock_locked(const troupe_lock *lock);

/* Tells who died holding the lock, while its mark is set. 0; -ENOENT: no mark;
 * -EINVAL. A death that lies more than two hundred ends of threads back, in
 * order or not, is told with pid 0. Never blocks. */
TROUPE_API int troupe_lock_obituary(const troupe_lock *lock,
                                    troupe_obituary *ret_obituary);

TROUPE_END_DECLS

#endif
