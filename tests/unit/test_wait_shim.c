/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting where the system has less to offer, or fails.
 */
#include "unit.h"

#include <troupe/event.h>
#include <troupe/lock.h>

#include "heap/wait.h"
#include "os/fault.h"
#include "os/futex.h"

struct shared {
    troupe_lock lock;
    troupe_event event;
    uint32_t flags[8];
    struct troupe__slot *slots[4];
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

static void
hold(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

/* Fails one call with one errno, and counts both kinds of sleep. */
static const char *failing;
static int failing_with;
static uint32_t waits;
static uint32_t waits_any;

static int
fail_one(const char *call)
{
    waits += strcmp(call, "futex_wait") == 0;
    waits_any += strcmp(call, "futex_waitv") == 0;
    return failing != NULL && strcmp(call, failing) == 0 ? failing_with : 0;
}

static void
fail(const char *call, int error)
{
    failing = call;
    failing_with = error;
    waits = 0;
    waits_any = 0;
    troupe__shim_fault = fail_one;
}

/* Sets an event when the library is about to touch `pulse_at`. */
static troupe_event *pulsed;
static const volatile void *pulse_at;
static bool pulse_stays;

static void
pulse(const volatile void *address)
{
    if (address != pulse_at)
        return;
    pulse_at = NULL;
    CHECK_RC(troupe_event_set(pulsed), 0);
    if (!pulse_stays)
        CHECK_RC(troupe_event_clear(pulsed), 0);
}

/* The request to stop is looked at after the event and before the clock: it
 * stands for a thread that loses its processor there. */
TEST(wait_event_set_between_the_last_look_and_the_deadline_counts)
{
    static const troupe_deadline deadlines[] = {TROUPE_NOW, -1, 1};
    struct troupe__thread *self;

    (void)unit_slot();
    self = troupe__thread_self;
    self->stoppable = 1;
    troupe__shim_atomic_hook = pulse;
    for (size_t i = 0; i < 2 * sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        struct shared *s = new_shared();

        pulsed = &s->event;
        pulse_stays = i % 2 != 0;
        pulse_at = &troupe__member_at(self->member - 1)->stop;
        CHECK_RC(troupe_event_wait(&s->event, deadlines[i / 2]), 0);
        CHECK(pulse_at == NULL);
        CHECK_EQ(troupe_event_is_set(&s->event), pulse_stays);
        CHECK_EQ(self->slot->wait_kind, 0u);
    }
    troupe__shim_atomic_hook = NULL;
    self->stoppable = 0;
}

static const volatile void *looked_at;
static uint32_t looks;

static void
count_looks(const volatile void *address)
{
    looks += address == looked_at;
}

/* Whatever deadline says so: it has passed. */
TEST(wait_try_looks_once_and_leaves_no_trace)
{
    static const troupe_deadline deadlines[] = {TROUPE_NOW, -1, INT64_MIN, 1};
    struct shared *s = new_shared();
    pid_t holder = unit_fork(hold, s);

    unit_await(&s->flags[0], 1);
    (void)unit_slot();
    looked_at = &s->lock.word_;
    for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        looks = 0;
        troupe__shim_atomic_hook = count_looks;
        CHECK_RC(troupe_lock_acquire(&s->lock, deadlines[i]), -ETIMEDOUT);
        troupe__shim_atomic_hook = NULL;
        CHECK_GT(looks, 0u);
        CHECK_LE(looks, 4u);
        CHECK_EQ(s->lock.word_ & TROUPE__WAITERS, 0u);
        CHECK_RC(troupe_event_wait(&s->event, deadlines[i]), -ETIMEDOUT);
        CHECK_EQ(s->event.word_, 0u);
    }
    unit_kill(holder);
}

/* No sleep ends by itself. */
static void
sleep_without_end(const char *call, int64_t *until)
{
    (void)call;
    *until = INT64_MAX;
}

static void
take_over(void *argument)
{
    struct shared *s = argument;

    s->slots[1] = unit_slot();
    fail(NULL, 0);
    troupe__shim_sleep = sleep_without_end;
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_GT(waits_any, 0u);
    CHECK_EQ(waits, 0u);
}

/* With futex_waitv it is the death itself that wakes who waits: the bound,
 * which would do it also, never passes here. */
TEST(wait_death_of_the_owner_wakes)
{
    struct shared *s = new_shared();
    pid_t holder = unit_fork(hold, s);
    pid_t waiter;

    unit_await(&s->flags[0], 1);
    waiter = unit_fork(take_over, s);
    while (__atomic_load_n(&s->slots[1], __ATOMIC_SEQ_CST) == NULL)
        (void)sched_yield();
    unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
    unit_kill(holder);
    unit_join(waiter);
}

/* Time passes by sleeping alone: each sleep lasts, on the library's clock, as
 * long as it may, and not at all in truth. One of them sees the holder die just
 * after it has begun. */
static pid_t doomed;
static uint32_t sleeps;
static uint32_t death_in;
static int64_t longest;

static void
sleep_through(const char *call, int64_t *until)
{
    int64_t now = troupe_clock();

    (void)call;
    if (*until - now > longest)
        longest = *until - now;
    if (++sleeps == death_in)
        unit_kill(doomed);
    if (*until > now)
        troupe__shim_clock_ahead += *until - now;
    *until = 0;
}

/* Nobody sleeps for more than a second, with futex_waitv or without, and who
 * wakes up sees the death: so a lock is taken over within that second. */
TEST(wait_no_sleep_is_longer_than_a_second)
{
    static const int errors[] = {ENOSYS, EPERM, ENOMEM, EINVAL, 0};

    troupe__shim_sleep = sleep_through;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (death_in = 1; death_in <= 8; death_in += 7) {
            struct shared *s = new_shared();

            doomed = unit_fork(hold, s);
            unit_await(&s->flags[0], 1);
            sleeps = 0;
            longest = 0;
            fail("futex_waitv", errors[i]);
            CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER),
                     TROUPE_OWNER_DIED);
            CHECK_EQ(sleeps, death_in);
            CHECK_LE(longest, INT64_C(1000000000));
            CHECK_EQ(waits, errors[i] != 0 ? death_in : 0u);
            CHECK_EQ(waits_any, death_in);
        }
        /* the bound had grown to what it may be */
        CHECK_GE(longest, INT64_C(999000000));
    }
    troupe__shim_sleep = NULL;
    troupe__shim_clock_ahead = 0;
}

TEST(wait_that_the_system_does_not_let_sleep_still_ends)
{
    static const int errors[] = {EINTR, EAGAIN, ENOMEM, EINVAL, EFAULT};
    static const char *const calls[] = {"futex_wait", "futex_waitv"};
    struct shared *s = new_shared();
    pid_t holder = unit_fork(hold, s);

    unit_await(&s->flags[0], 1);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (size_t call = 0; call < 2; call++) {
            troupe_deadline deadline = troupe_after(0.02);

            fail(calls[call], errors[i]);
            CHECK_RC(troupe_lock_acquire(&s->lock, deadline), -ETIMEDOUT);
            CHECK_GE(troupe_clock(), deadline);
            deadline = troupe_after(0.02);
            CHECK_RC(troupe_event_wait(&s->event, deadline), -ETIMEDOUT);
            CHECK_GE(troupe_clock(), deadline);
            CHECK_EQ(unit_slot()->wait_kind, 0u);
        }
    }
    fail("futex_wait", EINTR);
    unit_kill(holder);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
}

/* What a waiter publishes and for how long. */
TEST(wait_publishes_what_it_waits_for)
{
    struct troupe__thread *self;
    struct troupe__slot *slot = unit_slot();
    struct troupe__wait wait;
    uint32_t local = 0;
    uint32_t *shared = unit_shared(64);
    int64_t since;

    self = troupe__thread_self;
    troupe__wait_begin(&wait, self, shared, TROUPE__KIND_QUEUE_ITEMS,
                       troupe_after(3600));
    CHECK_EQ(slot->wait_kind, 0u);
    CHECK_RC(troupe__wait_sleep(&wait, &local, 1, 0), 0); /* not equal */
    CHECK_EQ(slot->wait_kind, (uint32_t)TROUPE__KIND_QUEUE_ITEMS);
    CHECK_EQ(slot->wait_object, troupe__family_offset(shared));
    since = slot->wait_since;
    CHECK_LE(since, troupe_clock());
    /* the bound counts from the beginning, however often it wakes up */
    for (int i = 0; wait.rounds < 2; i++) {
        CHECK_RC(troupe__wait_sleep(&wait, &local, (uint32_t)(i % 2), 0), 0);
        CHECK_EQ(slot->wait_since, since);
        CHECK_EQ(slot->wait_kind, (uint32_t)TROUPE__KIND_QUEUE_ITEMS);
    }
    troupe__wait_end(&wait);
    CHECK_EQ(slot->wait_kind, 0u);
    /* outside of the heap the address itself */
    troupe__wait_begin(&wait, self, &local, TROUPE__KIND_EVENT,
                       troupe_after(3600));
    CHECK_RC(troupe__wait_sleep(&wait, &local, 1, 0), 0);
    CHECK_EQ(slot->wait_object, (uint64_t)(uintptr_t)&local);
    troupe__wait_end(&wait);
}

/* A queue's waiter waits for the queue's locks now and then. */
TEST(wait_inside_a_wait_gives_back_what_was_published)
{
    struct troupe__slot *slot = unit_slot();
    struct troupe__thread *self = troupe__thread_self;
    struct troupe__wait outer;
    struct troupe__wait inner;
    uint32_t *shared = unit_shared(64);
    uint32_t local = 0;
    int64_t since;

    troupe__wait_begin(&outer, self, shared, TROUPE__KIND_QUEUE_ITEMS,
                       troupe_after(3600));
    CHECK_RC(troupe__wait_sleep(&outer, &local, 1, 0), 0);
    since = slot->wait_since;
    troupe__wait_begin(&inner, self, &local, TROUPE__KIND_INTERNAL,
                       troupe_after(3600));
    CHECK_RC(troupe__wait_sleep(&inner, &local, 1, 0), 0);
    CHECK_EQ(slot->wait_kind, (uint32_t)TROUPE__KIND_INTERNAL);
    CHECK_EQ(slot->wait_object, (uint64_t)(uintptr_t)&local);
    troupe__wait_end(&inner);
    CHECK_EQ(slot->wait_kind, (uint32_t)TROUPE__KIND_QUEUE_ITEMS);
    CHECK_EQ(slot->wait_object, troupe__family_offset(shared));
    CHECK_EQ(slot->wait_since, since);
    troupe__wait_end(&outer);
    CHECK_EQ(slot->wait_kind, 0u);
}

TEST(wait_with_a_deadline_that_has_passed_does_not_sleep)
{
    static const troupe_deadline deadlines[] = {TROUPE_NOW, -1, INT64_MIN, 1};
    struct troupe__slot *slot = unit_slot();
    uint32_t local = 0;

    fail(NULL, 0);
    for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        struct troupe__wait wait;

        troupe__wait_begin(&wait, troupe__thread_self, &local,
                           TROUPE__KIND_EVENT, deadlines[i]);
        CHECK_RC(troupe__wait_sleep(&wait, &local, 0, 0), -ETIMEDOUT);
        CHECK_EQ(slot->wait_kind, 0u);
        troupe__wait_end(&wait);
    }
    CHECK_EQ(waits, 0u);
}

TEST(wait_for_an_owner_that_is_dead_does_not_sleep)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(hold, s);
    struct troupe__wait wait;
    uint32_t local = 0;
    uint64_t owner;

    unit_await(&s->flags[0], 1);
    owner = s->lock.word_ & ~TROUPE__WAITERS;
    unit_kill(pid);
    fail(NULL, 0);
    (void)unit_slot();
    troupe__wait_begin(&wait, troupe__thread_self, &local, TROUPE__KIND_LOCK,
                       TROUPE_FOREVER);
    CHECK_RC(troupe__wait_sleep(&wait, &local, 0, owner), 0);
    CHECK_RC(troupe__wait_sleep(&wait, &local, 0, 12345), 0);
    troupe__wait_end(&wait);
    CHECK_EQ(waits, 0u);
    CHECK_EQ(waits_any, 0u);
}

TEST(wait_wakes_leave_errno_alone)
{
    uint32_t word = 0;
    const void *misaligned = (const char *)&word + 3;

    errno = ERANGE;
    CHECK_EQ(troupe__futex_wake(&word, 1), 0);
    CHECK_EQ(troupe__futex_wake(misaligned, 1), 0);
    CHECK_EQ(errno, ERANGE);
}
