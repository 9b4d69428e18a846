/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/queue_wait.h"

#include "base/math.h"
#include "os/clock.h"

#include <errno.h>
#include <sched.h>

/*
 * How long to look before the first sleep: as long as a sleep and a wake-up
 * across processors take, so that a look in vain at most doubles the cost. All
 * of it but the first microsecond yields between two looks: who else wants the
 * processor gets it, and if that is the other side of the queue, it fills (or
 * empties) the queue at one go, without a system call for each message.
 */
#define LOOK (50 * INT64_C(1000))

/*
 * The first looks do not yield, and so serve only a side that runs on another
 * processor. Where that does not is known to nobody but experience: after some
 * polls in vain in a row the next waits do without, and then one tries again.
 */
#define POLLS 32
#define SKIPS 16

/* Between two looks at a process that is being taken apart. */
#define FIRST_PAUSE (TROUPE__MS / 20)
#define LAST_PAUSE  (50 * TROUPE__MS)

/* Polls before the first yield of this wait. */
static int64_t
polls(struct troupe__thread *self)
{
    if (self->polls < 0)
        return self->polls++, 0;
    if (self->polls == 0)
        self->polls = POLLS;
    return self->polls;
}

static bool
poll_word(struct troupe__thread *self, const uint64_t *word,
          const uint64_t *seen)
{
    int64_t left = polls(self);

    if (left == 0)
        return false;
    for (; left > 0; left--) {
        troupe__cpu_relax();
        if (troupe__load_relaxed(word) != troupe__load_relaxed(seen)) {
            self->polls = POLLS;
            return true;
        }
    }
    self->polls = self->polls > 1 ? self->polls / 2 : -SKIPS;
    return false;
}

void
troupe__queue_look_begin(struct troupe__queue_look *look,
                         struct troupe__thread *self, troupe_deadline deadline)
{
    look->self = self;
    look->until = troupe__time_add(troupe__clock_now(), LOOK);
    if (look->until > deadline)
        look->until = deadline;
    look->polled = false;
}

bool
troupe__queue_look(struct troupe__queue_look *look, const uint64_t *word,
                   const uint64_t *seen)
{
    if (!look->polled) {
        look->polled = true;
        if (poll_word(look->self, word, seen))
            return true;
    }
    while (troupe__clock_now() < look->until) {
        (void)sched_yield();
        if (troupe__load_relaxed(word) != troupe__load_relaxed(seen))
            return true;
    }
    return false;
}

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
    wait->pause = FIRST_PAUSE;
    troupe__eventword_enter(wait->event);
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
    /* It was the pause that ended, not the time. */
    if (status == -ETIMEDOUT && wait->wait.deadline != deadline)
        status = 0;
    wait->wait.deadline = deadline;
    wait->dying = false;
    return status;
}

bool
troupe__queue_wait_end(struct troupe__queue_wait *wait)
{
    /* In this order: recovery of a thread whose slot says that it waits leaves
     * in its stead. Killed in between it stays counted, which costs wake-ups
     * that find nobody. */
    troupe__wait_end(&wait->wait);
    return troupe__eventword_leave(wait->event);
}
