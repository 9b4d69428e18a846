/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event. One word says it all:
 *
 *     bit 0      somebody sleeps on the word (or did: a dead one leaves it set)
 *     bit 1      set
 *     bit 2      it has been polled
 *     bits 63..3 how often it was set
 *
 * A set is one compare-and-swap that sets the bit, counts, and takes the
 * sleepers' bit; then all sleepers are woken. A waiter remembers the count and
 * returns when the bit is set or the count has moved, so a set that is cleared
 * at once is not missed. Killed between the swap and the wake: the sleepers
 * look again by their bound.
 *
 * An event that nobody has polled is not touched any more behind the swap, not
 * even read: the waiter may have returned by then, and its memory may be gone.
 */
#include <troupe/event.h>

#include "base/atomic.h"
#include "heap/family.h"
#include "heap/wait.h"
#include "os/futex.h"
#include "sync/doorbell.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define SLEEPERS    UINT64_C(1)
#define SET         UINT64_C(2)
#define POLLED      UINT64_C(4)
#define COUNT_ONE   UINT64_C(8)
#define COUNT(word) ((word) >> 3)

_Static_assert(sizeof(troupe_event) == 32, "frozen");
_Static_assert(_Alignof(troupe_event) == 8, "frozen");

static bool
valid(const troupe_event *event)
{
    return event != NULL && ((uintptr_t)event & 7) == 0;
}

int
troupe_event_init(troupe_event *event)
{
    if (!valid(event))
        return -EINVAL;
    memset(event, 0, sizeof(*event));
    return 0;
}

void
troupe_event_fini(troupe_event *event)
{
    struct troupe__thread *self;
    int error;

    if (event == NULL)
        return;
    /* A descriptor of this member stays also when another one ended the
     * event. */
    if (event->pollers_ != 0 ||
        troupe__load_relaxed(&troupe__doorbell_count) != 0) {
        self = troupe__thread_enter(&error);
        if (self != NULL)
            troupe__doorbell_free(self, &event->pollers_);
    }
    memset(event, 0, sizeof(*event));
}

int
troupe_event_set(troupe_event *event)
{
    uint64_t word;

    if (!valid(event))
        return -EINVAL;
    word = troupe__load_relaxed(&event->word_);
    /* seq_cst: pairs with the waiter's compare-and-swap and look. Setting a set
     * event counts too: who waits has slept through nothing, but the order of
     * the stores before this call and a wait that returns must hold. */
    while (!troupe__cas_seq_cst(&event->word_, &word,
                                ((word | SET) & ~SLEEPERS) + COUNT_ONE))
        ;
    if (word & SLEEPERS)
        troupe__futex_wake((const uint32_t *)&event->word_, INT_MAX);
    if (TROUPE__UNLIKELY(word & POLLED))
        troupe__doorbell_signal(&event->pollers_);
    return 0;
}

int
troupe_event_clear(troupe_event *event)
{
    if (!valid(event))
        return -EINVAL;
    (void)troupe__fetch_and_seq_cst(&event->word_, ~SET);
    return 0;
}

bool
troupe_event_is_set(const troupe_event *event)
{
    return valid(event) && (troupe__load_acquire(&event->word_) & SET) != 0;
}

int
troupe_event_wait(troupe_event *event, troupe_deadline deadline)
{
    struct troupe__thread *self;
    struct troupe__wait wait;
    uint64_t word;
    uint64_t count;
    bool waits;
    int status;

    if (!valid(event))
        return -EINVAL;
    /* acquire, here and after a sleep: pairs with the set, so that what was
     * written before it is seen. */
    word = troupe__load_acquire(&event->word_);
    if (word & SET)
        return 0;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    count = COUNT(word);
    troupe__wait_begin(&wait, self, event, TROUPE__KIND_EVENT, deadline);
    waits = troupe__wait_has_time(&wait);
    for (;;) {
        status = 0;
        if ((word & SET) || COUNT(word) != count)
            break;
        if ((word & SLEEPERS) == 0 && waits) {
            if (!troupe__cas_seq_cst(&event->word_, &word, word | SLEEPERS))
                continue;
            word |= SLEEPERS;
        }
        status = troupe__wait_sleep(&wait, (const uint32_t *)&event->word_,
                                    (uint32_t)word, 0);
        if (status < 0)
            break;
        word = troupe__load_acquire(&event->word_);
    }
    troupe__wait_end(&wait);
    if (status == -ETIMEDOUT) {
        bool told = troupe__doorbell_looked(self, &event->pollers_);

        /* It may have been set after the last look and before the clock was
         * read: this thread may have lost its processor in between. seq_cst:
         * after the arming of the bell, see sync/doorbell.h. */
        word = troupe__load_seq_cst(&event->word_);
        if ((word & SET) || COUNT(word) != count) {
            if (told)
                troupe__doorbell_again(self, &event->pollers_);
            status = 0;
        }
    }
    return status;
}

int
troupe_event_fileno(troupe_event *event, int *ret_fd)
{
    struct troupe__thread *self;
    int status;

    if (!valid(event) || ret_fd == NULL)
        return -EINVAL;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    status = troupe__doorbell_fileno(self, &event->pollers_, true, ret_fd);
    /* seq_cst: a set that does not see it comes before the first look. */
    if (status == 0)
        (void)troupe__fetch_or_seq_cst(&event->word_, POLLED);
    return status;
}
