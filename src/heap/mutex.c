/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/mutex.h"

#include "heap/slot.h"

#include <errno.h>

/*
 * Where another processor may be running the holder, a thread looks at a held
 * word a few times before it sleeps, and pauses twice as long between two looks
 * as before: every look takes the word's cache line away from the holder, and a
 * holder that is left alone for a moment can be through with it several times.
 */
#define FIRST_PAUSES 8u
#define MOST_PAUSES  64u

static void
pause_for(unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++)
        troupe__cpu_relax();
}

int
troupe__word_acquire(uint64_t *word, uint64_t tag, struct troupe__wait *wait,
                     uint64_t *ret_dead)
{
    bool waits = troupe__wait_has_time(wait);
    bool spins = waits && troupe__wait_may_spin(wait->self);
    unsigned pauses = FIRST_PAUSES;
    /* Whoever has slept does not know how many still do: it keeps the bit, at
     * the cost of one wake too many. */
    uint64_t waiters = 0;
    uint64_t value;
    int status;

    for (;;) {
        uint64_t owner;

        value = troupe__load_relaxed(word);
        if (value == 0) {
            /* acquire: pairs with the exchange in troupe__word_release. */
            if (troupe__cas_acquire(word, &value, tag | waiters))
                return 0;
            continue;
        }
        owner = value & ~TROUPE__WAITERS;
        if (owner == TROUPE__NOBODY) {
            owner = 0;
        } else if (troupe__tag_dead(owner)) {
            if (!troupe__cas_acquire(word, &value, tag | TROUPE__WAITERS))
                continue;
            if (ret_dead != NULL)
                *ret_dead = owner;
            return 1;
        }
        if (spins && pauses <= MOST_PAUSES) {
            pause_for(pauses);
            pauses *= 2;
            continue;
        }
        if ((value & TROUPE__WAITERS) == 0 && waits) {
            if (!troupe__cas_relaxed(word, &value, value | TROUPE__WAITERS))
                continue;
            value |= TROUPE__WAITERS;
        }
        waiters = TROUPE__WAITERS;
        status = troupe__wait_sleep(wait, (const uint32_t *)word,
                                    (uint32_t)value, owner);
        if (status < 0)
            break;
        pauses = FIRST_PAUSES;
    }
    if (wait->bound == 0)
        return status; /* has not slept */
    /* The wake that a release meant for one sleeper may have been ours: pass it
     * on. If somebody else was faster, and holds the lock without knowing of
     * the sleepers, let it know. */
    value = troupe__load_seq_cst(word);
    while (value != 0 && (value & TROUPE__WAITERS) == 0)
        if (troupe__cas_relaxed(word, &value, value | TROUPE__WAITERS))
            break;
    if (value == 0)
        troupe__futex_wake((const uint32_t *)word, 1);
    return status;
}

int
troupe__mutex_acquire_slow(struct troupe__thread *self,
                           struct troupe__mutex *mutex,
                           troupe_deadline deadline, uint64_t *ret_dead)
{
    struct troupe__wait wait;
    int status;

    /* `locks` counts this lock already: the wait recovers nobody meanwhile,
     * which it must not while an outer lock may be held. */
    troupe__wait_begin(&wait, self, mutex, TROUPE__KIND_INTERNAL, deadline);
    status = troupe__word_acquire(&mutex->word, self->tag, &wait, ret_dead);
    troupe__wait_end(&wait);
    if (status < 0)
        self->locks--;
    return status;
}
