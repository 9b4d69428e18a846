/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting. Every sleep of the library goes through here, and no sleep is
 * without bound: it ends after 50 ms, growing to 1 s, whatever happens, and the
 * caller looks at the state again. A wake-up is a hint that makes things fast;
 * that a waker was killed before it could wake costs time, never a hang.
 *
 *     struct troupe__wait wait;
 *
 *     troupe__wait_begin(&wait, self, object, kind, deadline);
 *     for (;;) {
 *         seen = what the word holds
 *         if (it is our turn) { status = 0; break; }
 *         status = troupe__wait_sleep(&wait, word, seen, owner);
 *         if (status < 0)
 *             break;
 *     }
 *     troupe__wait_end(&wait);
 */
#ifndef TROUPE_SRC_HEAP_WAIT_H
#define TROUPE_SRC_HEAP_WAIT_H

#include "heap/family.h"
#include "heap/layout.h"

#include <troupe/time.h>

#include <stdint.h>

struct pollfd;

struct troupe__wait {
    struct troupe__thread *self;
    troupe_deadline deadline;
    int64_t since;     /* the first sleep */
    int64_t bound;     /* 0: not slept yet */
    int64_t round_end; /* when it has passed */
    const void *object;
    uint32_t kind;
    uint32_t rounds; /* bounds that have passed */
    uint64_t last_owner;
    /* What the thread had published before: a wait around this one. */
    uint64_t outer_object;
    int64_t outer_since;
    uint32_t outer_kind;
};

static inline void
troupe__wait_begin(struct troupe__wait *wait, struct troupe__thread *self,
                   const void *object, enum troupe__kind kind,
                   troupe_deadline deadline)
{
    wait->self = self;
    wait->deadline = deadline;
    wait->since = 0;
    wait->bound = 0;
    wait->round_end = 0;
    wait->object = object;
    wait->kind = kind;
    wait->rounds = 0;
    wait->last_owner = 0;
    wait->outer_kind = 0;
}

/*
 * Sleeps while *word == seen, at most until the deadline, the bound, the death
 * of the thread `owner` (0: nobody in particular), or, in a stoppable section,
 * the request to stop.
 *
 *     0            look again
 *     -ETIMEDOUT   the deadline has passed; nothing was slept
 *     -ECANCELED   asked to stop
 *
 * The first time it publishes in the thread's slot what is waited for. The
 * bound counts from there, not from each sleep: signals and wake-ups that come
 * in quick succession must not put off what is done when it has passed.
 */
int troupe__wait_sleep(struct troupe__wait *wait, const uint32_t *word,
                       uint32_t seen, uint64_t owner);

/* The same for up to TROUPE__WAIT_OWNERS threads, any of whose deaths ends the
 * sleep. */
#define TROUPE__WAIT_OWNERS 64u
int troupe__wait_sleep_any(struct troupe__wait *wait, const uint32_t *word,
                           uint32_t seen, const uint64_t *owners,
                           unsigned count);

/*
 * The same for descriptors: sleeps in poll(2) until one of them is ready. A
 * request to stop is noticed within 50 ms. With a deadline that has passed it
 * still looks once.
 *
 *     > 0          so many are ready
 *     0            look again
 *     -ETIMEDOUT   none was ready, and the deadline has passed
 *     -ECANCELED   asked to stop; nothing was looked at
 */
int troupe__wait_poll(struct troupe__wait *wait, struct pollfd *fds,
                      unsigned count);

/* Whether the deadline leaves time to sleep. Else it is a try: the caller looks
 * once, and neither spins nor makes itself known as a sleeper. */
bool troupe__wait_has_time(const struct troupe__wait *wait);

/* Takes the publication back, to what it was before. */
void troupe__wait_end(struct troupe__wait *wait);

/* Whether it can help to spin for another thread: there is a second processor
 * that this thread may run on. Refreshes its knowledge at most every 10 ms. */
bool troupe__wait_may_spin(struct troupe__thread *self);

#endif
