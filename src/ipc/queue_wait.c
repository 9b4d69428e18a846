/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/queue_wait.h"

#include "base/math.h"
#include "os/clock.h"

#include <errno.h>
#include <sched.h>

/*
 * How long to look before the first sleep. A sleep and a wake-up across
 * processors cost some 50 us, so looking that long is at worst twice too much;
 * but where the other side does not run, because there are more threads than
 * processors, it is all in vain. So each thread learns from how long it had to
 * wait: when it slept, and would have been served while looking twice as long,
 * it looks longer the next time, and shorter when not.
 */
#define FIRST_SPIN (10 * INT64_C(1000))
#define LEAST_SPIN (2 * INT64_C(1000))
#define MOST_SPIN  (50 * INT64_C(1000))
/* What a wait that a longer look would have saved takes at most. */
#define SHORT_WAIT (2 * MOST_SPIN)

/* Looks between two looks at the clock. */
#define SPINS 32u

/* Between two looks at a process that is being taken apart. */
#define FIRST_PAUSE (TROUPE__MS / 20)
#define LAST_PAUSE  (50 * TROUPE__MS)

void
troupe__queue_wait_begin(struct troupe__queue_wait *wait,
                         struct troupe__thread *self, troupe_queue *queue,
                         unsigned side, troupe_deadline deadline)
{
    troupe__wait_begin(&wait->wait, self, queue,
                       side == TROUPE_QUEUE_GET ? TROUPE__KIND_QUEUE_ITEMS
                                                : TROUPE__KIND_QUEUE_ROOM,
                       deadline);
    wait->event = &queue->side[side].event;
    wait->owner_count = 0;
    wait->dying = false;
    wait->spun = false;
    wait->began = 0;
    wait->pause = FIRST_PAUSE;
    troupe__eventword_enter(wait->event);
}

void
troupe__queue_wait_spin(struct troupe__queue_wait *wait, const uint64_t *word,
                        const uint64_t *seen)
{
    struct troupe__thread *self = wait->wait.self;
    int64_t until;
    unsigned i;

    if (wait->spun)
        return;
    wait->spun = true;
    if (!troupe__wait_may_spin(self))
        return;
    if (self->spin == 0)
        self->spin = FIRST_SPIN;
    wait->began = troupe__clock_now();
    until = wait->began + self->spin;
    do {
        for (i = 0; i < SPINS; i++) {
            if (troupe__load_relaxed(word) != troupe__load_relaxed(seen))
                return;
            troupe__cpu_relax();
        }
    } while (troupe__clock_now() < until);
}

/* After a sleep: what to do the next time. */
static void
learn(struct troupe__queue_wait *wait)
{
    struct troupe__thread *self = wait->wait.self;
    int64_t waited;

    if (wait->began == 0)
        return;
    waited = troupe__clock_now() - wait->began;
    wait->began = 0;
    if (waited < SHORT_WAIT)
        self->spin = self->spin * 2 < MOST_SPIN ? self->spin * 2 : MOST_SPIN;
    else
        self->spin = self->spin / 2 > LEAST_SPIN ? self->spin / 2 : LEAST_SPIN;
}

int
troupe__queue_wait_sleep(struct troupe__queue_wait *wait, uint32_t seen)
{
    troupe_deadline deadline = wait->wait.deadline;
    int64_t now;
    int status;

    if (wait->dying) {
        now = troupe__clock_now();
        wait->wait.deadline = troupe__time_add(now, wait->pause);
        if (wait->wait.deadline > deadline)
            wait->wait.deadline = deadline;
        if (wait->pause < LAST_PAUSE)
            wait->pause *= 2;
    }
    status = troupe__wait_sleep_any(&wait->wait, &wait->event->word, seen,
                                    wait->owners, wait->owner_count);
    wait->wait.deadline = deadline;
    learn(wait);
    /* On one processor whoever woke us is still at it: with its turn finished
     * there is more to do at one go, and one change of threads less for each
     * message. */
    if (status == 0 && !wait->dying && !troupe__wait_may_spin(wait->wait.self))
        (void)sched_yield();
    wait->dying = false;
    return status;
}

bool
troupe__queue_wait_end(struct troupe__queue_wait *wait)
{
    bool others = troupe__eventword_leave(wait->event);

    troupe__wait_end(&wait->wait);
    return others;
}
