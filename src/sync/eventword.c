/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/eventword.h"

#include "os/futex.h"

#include <limits.h>

bool
troupe__eventword_leave(struct troupe__eventword *event)
{
    uint32_t sleepers = troupe__load_relaxed(&event->sleepers);

    while (sleepers != 0)
        if (troupe__cas_seq_cst(&event->sleepers, &sleepers, sleepers - 1))
            break;
    if (sleepers <= 1)
        return false;
    /* The signal that woke us may have taken the bit for all. */
    (void)troupe__fetch_or_seq_cst(&event->word, TROUPE__EVENTWORD_SLEEP);
    return true;
}

void
troupe__eventword_wake(struct troupe__eventword *event, uint32_t count)
{
    uint32_t word = troupe__load_relaxed(&event->word);

    while (word & TROUPE__EVENTWORD_SLEEP) {
        bool more = troupe__load_relaxed(&event->sleepers) > count;
        uint32_t next = word + 2;
        int woken;

        if (!more)
            next &= ~TROUPE__EVENTWORD_SLEEP;
        if (!troupe__cas_seq_cst(&event->word, &word, next))
            continue;
        woken = troupe__futex_wake(&event->word,
                                   count > INT_MAX ? INT_MAX : (int)count);
        if (!more || woken >= (int)count)
            return;
        /* Fewer slept than are counted: the rest is on its way, or dead. The
         * bit goes, so that the next signal is cheap again; who has prepared
         * with it since then finds the word changed, and who sleeps is woken.
         */
        word = next;
        if (troupe__cas_seq_cst(&event->word, &word,
                                (next + 2) & ~TROUPE__EVENTWORD_SLEEP))
            (void)troupe__futex_wake(&event->word, INT_MAX);
        return;
    }
}
