/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/wait.h"

#include "heap/member.h"
#include "heap/slot.h"
#include "os/cancel.h"
#include "os/clock.h"
#include "os/futex.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#define FIRST_BOUND (50 * TROUPE__MS)
#define LAST_BOUND  (1000 * TROUPE__MS)

/* Bounds that pass in waiting for one owner before the system is asked whether
 * its process still exists. */
#define PATIENCE 3u

#define PROCESSORS_FRESH (10 * TROUPE__MS)

_Static_assert(2 + TROUPE__WAIT_OWNERS <= TROUPE__FUTEX_TARGETS,
               "the word, the request to stop, and the owners");

static void
show(struct troupe__slot *slot, uint64_t address, int64_t since, uint32_t kind)
{
    troupe__store_relaxed(&slot->wait_object, address);
    troupe__store_relaxed(&slot->wait_since, since);
    /* release: a reader that sees the kind sees what belongs to it. */
    troupe__store_release(&slot->wait_kind, kind);
}

static void
publish(struct troupe__wait *wait)
{
    struct troupe__slot *slot = wait->self->slot;
    uint64_t address = (uint64_t)(uintptr_t)wait->object;

    /* What a dead thread waited for is still to be settled. */
    if (!troupe__slot_is_own(wait->self))
        return;
    if (troupe_heap_contains(wait->object, 1))
        address = troupe__family_offset(wait->object);
    wait->outer_object = troupe__load_relaxed(&slot->wait_object);
    wait->outer_since = troupe__load_relaxed(&slot->wait_since);
    wait->outer_kind = troupe__load_relaxed(&slot->wait_kind);
    show(slot, address, wait->since, wait->kind);
}

/* Adds the owner's token to what is slept on, so that its death wakes us.
 * False: it is dead, there is nothing to sleep for. */
static bool
watch_owner(uint64_t owner, struct troupe__futex_target *target)
{
    struct troupe__slot *slot = troupe__tag_slot(owner);
    uint32_t *token = troupe__slot_token(slot);
    uint32_t word = troupe__load_acquire(token);

    while (troupe__token_alive(word) && (word & FUTEX_WAITERS) == 0)
        if (troupe__cas_relaxed(token, &word, word | FUTEX_WAITERS))
            word |= FUTEX_WAITERS;
    target->word = token;
    target->seen = word;
    /* Looked at after the word was read: a token that has passed on to another
     * thread since then shows in the generation. */
    return !troupe__tag_dead(owner);
}

/*
 * After a sleep: whoever was woken by a death tells the others that sleep on
 * the token, each for another lock perhaps. The kernel wakes one alone. Looked
 * at is the token, not what the call returned: it names one word of several
 * that changed.
 */
static void
pass_on_deaths(const struct troupe__futex_target *targets, unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++)
        if (!troupe__token_alive(troupe__load_relaxed(targets[i].word)))
            troupe__futex_wake(targets[i].word, INT_MAX);
}

/* What a thread does each time its bound has passed. */
static void
look_around(struct troupe__wait *wait, const uint64_t *owners, unsigned count,
            int64_t now)
{
    /* What asks the system has cancellation points; waiting for the library's
     * own locks is none. */
    TROUPE__UNCANCELLED;
    unsigned i;

    (void)troupe__slots_recover();
    if (++wait->rounds >= PATIENCE) {
        wait->rounds = 0;
        for (i = 0; i < count; i++)
            (void)troupe__slot_verify(owners[i]);
        if (wait->self->locks == 0)
            troupe__members_census(now);
    }
}

/* Before a sleep. True: the bound had passed, and something may have changed by
 * what was done about it. */
static bool
bound_passed(struct troupe__wait *wait, const uint64_t *owners, unsigned count,
             int64_t now)
{
    uint64_t first = count == 0 ? 0 : owners[0];

    if (first != wait->last_owner) {
        wait->last_owner = first;
        wait->rounds = 0;
    }
    if (wait->bound == 0) {
        wait->since = now;
        wait->bound = FIRST_BOUND;
        wait->round_end = now + wait->bound;
        publish(wait);
        return false;
    }
    if (now < wait->round_end)
        return false;
    wait->bound = wait->bound * 2 < LAST_BOUND ? wait->bound * 2 : LAST_BOUND;
    wait->round_end = now + wait->bound;
    look_around(wait, owners, count, now);
    return true;
}

static int64_t
sleep_end(const struct troupe__wait *wait)
{
    return wait->round_end < wait->deadline ? wait->round_end : wait->deadline;
}

int
troupe__wait_sleep(struct troupe__wait *wait, const uint32_t *word,
                   uint32_t seen, uint64_t owner)
{
    return troupe__wait_sleep_any(wait, word, seen, &owner, owner != 0);
}

int
troupe__wait_sleep_any(struct troupe__wait *wait, const uint32_t *word,
                       uint32_t seen, const uint64_t *owners,
                       unsigned owner_count)
{
    struct troupe__futex_target targets[2 + TROUPE__WAIT_OWNERS];
    unsigned count = 1;
    unsigned tokens;
    unsigned i;
    int64_t now = troupe__clock_now();
    int64_t until;
    int status;

    targets[0].word = word;
    targets[0].seen = seen;
    if (wait->self->stoppable != 0 && wait->kind != TROUPE__KIND_INTERNAL) {
        const uint32_t *stop = &troupe__member_at(wait->self->member - 1)->stop;

        targets[count].word = stop;
        targets[count].seen = troupe__load_acquire(stop);
        if (targets[count].seen & 1)
            return -ECANCELED;
        count++;
    }
    if (now >= wait->deadline)
        return -ETIMEDOUT;
    if (owner_count > TROUPE__WAIT_OWNERS)
        owner_count = TROUPE__WAIT_OWNERS;
    if (bound_passed(wait, owners, owner_count, now))
        return 0;
    tokens = count;
    for (i = 0; i < owner_count; i++) {
        if (troupe__tag_slot(owners[i]) == NULL ||
            !watch_owner(owners[i], &targets[count]))
            return 0;
        count++;
    }
    until = sleep_end(wait);
    status = -ENOSYS;
    if (count > 1)
        status = troupe__futex_wait_any(targets, count, until);
    if (status == -ENOSYS)
        (void)troupe__futex_wait(word, seen, until);
    pass_on_deaths(targets + tokens, count - tokens);
    return 0;
}

int
troupe__wait_poll(struct troupe__wait *wait, struct pollfd *fds, unsigned count)
{
    bool stoppable = wait->self->stoppable != 0;
    int64_t now = troupe__clock_now();
    int64_t until = now;
    struct timespec timeout;
    int ready;

    if (stoppable && (troupe__load_acquire(
                          &troupe__member_at(wait->self->member - 1)->stop) &
                      1) != 0)
        return -ECANCELED;
    if (now < wait->deadline) {
        if (bound_passed(wait, NULL, 0, now))
            return 0;
        until = sleep_end(wait);
    }
    /* Nothing wakes a poll on a word: who may be asked to stop looks often. */
    if (stoppable && until > now + FIRST_BOUND)
        until = now + FIRST_BOUND;
    timeout.tv_sec = (until - now) / TROUPE__SECOND;
    timeout.tv_nsec = (until - now) % TROUPE__SECOND;
    ready = ppoll(fds, count, &timeout, NULL);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    return ready == 0 && until >= wait->deadline ? -ETIMEDOUT : ready;
}

bool
troupe__wait_has_time(const struct troupe__wait *wait)
{
    /* Most deadlines are one of these, and need no clock. */
    if (wait->deadline <= TROUPE_NOW || wait->deadline == TROUPE_FOREVER)
        return wait->deadline > TROUPE_NOW;
    return troupe__clock_now() < wait->deadline;
}

void
troupe__wait_end(struct troupe__wait *wait)
{
    struct troupe__slot *slot = wait->self->slot;

    if (wait->bound == 0 || !troupe__slot_is_own(wait->self))
        return;
    /* A queue's waiter takes the queue's locks between two sleeps. */
    if (wait->outer_kind != 0)
        show(slot, wait->outer_object, wait->outer_since, wait->outer_kind);
    else
        troupe__store_relaxed(&slot->wait_kind, 0u);
}

bool
troupe__wait_may_spin(struct troupe__thread *self)
{
    int64_t now = troupe__clock_now();
    cpu_set_t set;

    if (self->processors == 0 ||
        now - self->processors_seen > PROCESSORS_FRESH) {
        self->processors = 2; /* more than a cpu_set_t holds: many */
        if (sched_getaffinity(0, sizeof(set), &set) == 0)
            self->processors = (uint32_t)CPU_COUNT(&set);
        self->processors_seen = now;
    }
    return self->processors > 1;
}
