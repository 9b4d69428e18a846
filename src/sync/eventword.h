/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event word: "something has changed, look again", for those who sleep.
 *
 *     waiter                              signaller
 *     seen = prepare(e)                   change what the waiter looks at
 *     look: nothing for us?               signal(e, n)
 *     troupe__wait_sleep(e->word, seen)
 *     ... look again, prepare again ...
 *     leave(e)
 *
 * word: bit 0 says that somebody may be asleep, the rest counts signals. The
 * signaller's fast path is one load of it.
 *
 * No wake-up is lost between the living (Dekker): the waiter sets bit 0 and
 * then looks, the signaller changes and then loads bit 0. Both pairs must be
 * kept in that order by sequential consistency. The signaller's change is often
 * a plain release store followed by the seq_cst exchange that frees a lock:
 * then the waiter loads that lock's word with seq_cst before it looks. Either
 * its load comes after the exchange in the single order, and it sees the
 * change; or before, and then its setting of bit 0 comes before the signaller's
 * load.
 *
 * The dead: a waiter that dies leaves bit 0 set and itself counted in
 * `sleepers`, which costs wake-ups that find nobody; a signaller that dies
 * between its change and its wake leaves the sleepers to their bound.
 */
#ifndef TROUPE_SRC_SYNC_EVENTWORD_H
#define TROUPE_SRC_SYNC_EVENTWORD_H

#include "base/atomic.h"
#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

struct troupe__eventword {
    uint32_t word;
    /* Threads between enter and leave: who signals leaves bit 0 set when there
     * are more than it wakes. Never too low for the living. */
    uint32_t sleepers;
};

#define TROUPE__EVENTWORD_SLEEP 1u

/* The caller begins to wait: once before its first prepare. */
static inline void
troupe__eventword_enter(struct troupe__eventword *event)
{
    (void)troupe__fetch_add_seq_cst(&event->sleepers, 1u);
}

/* What to sleep on; the caller looks once more before it does. */
static inline uint32_t
troupe__eventword_prepare(struct troupe__eventword *event)
{
    return troupe__fetch_or_seq_cst(&event->word, TROUPE__EVENTWORD_SLEEP) |
           TROUPE__EVENTWORD_SLEEP;
}

/* The caller waits no more. True: others do; if there is something left for
 * them the caller signals. */
bool troupe__eventword_leave(struct troupe__eventword *event);

/* Wakes `count` sleepers if there are that many. */
void troupe__eventword_wake(struct troupe__eventword *event, uint32_t count);

/* After a change that `count` waiters can use. Async-signal-safe. */
static inline void
troupe__eventword_signal(struct troupe__eventword *event, uint32_t count)
{
    if (TROUPE__UNLIKELY(troupe__load_seq_cst(&event->word) &
                         TROUPE__EVENTWORD_SLEEP))
        troupe__eventword_wake(event, count);
}

#endif
