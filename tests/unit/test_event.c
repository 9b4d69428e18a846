/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/event.h>

#include "sync/doorbell.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>

struct shared {
    troupe_event event;
    uint32_t flags[8];
    struct troupe__slot *slots[8];
    uint64_t data;
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

static void
wait_for_it(void *argument)
{
    struct shared *s = argument;
    uint32_t me;

    me = __atomic_fetch_add(&s->flags[7], 1u, __ATOMIC_SEQ_CST) % 8;
    s->slots[me] = unit_slot();
    unit_raise(&s->flags[0]);
    CHECK_RC(troupe_event_wait(&s->event, TROUPE_FOREVER), 0);
    unit_raise(&s->flags[1]);
}

/* Waits for children to be asleep on the event. */
static void
await_sleepers(struct shared *s, uint32_t count)
{
    unit_await(&s->flags[0], count);
    for (uint32_t i = 0; i < count; i++)
        unit_await_waiter(s->slots[i], TROUPE__KIND_EVENT);
}

TEST(event_zeroed_is_ready_and_not_set)
{
    troupe_event event = {0};

    CHECK(!troupe_event_is_set(&event));
    CHECK_RC(troupe_event_wait(&event, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_event_wait(&event, -5), -ETIMEDOUT);
    CHECK_RC(troupe_event_set(&event), 0);
    CHECK(troupe_event_is_set(&event));
    CHECK_RC(troupe_event_set(&event), 0);
    CHECK_RC(troupe_event_wait(&event, TROUPE_NOW), 0);
    CHECK_RC(troupe_event_wait(&event, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_event_clear(&event), 0);
    CHECK_RC(troupe_event_clear(&event), 0);
    CHECK(!troupe_event_is_set(&event));
    CHECK_RC(troupe_event_wait(&event, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_event_set(&event), 0);
    CHECK_RC(troupe_event_init(&event), 0);
    CHECK(!troupe_event_is_set(&event));
    CHECK_RC(troupe_event_set(&event), 0);
    troupe_event_fini(&event);
    CHECK(!troupe_event_is_set(&event));
    troupe_event_fini(NULL);
}

TEST(event_null_and_misaligned_are_refused)
{
    _Alignas(8) unsigned char room[sizeof(troupe_event) + 8] = {0};
    troupe_event *bad[] = {NULL, (troupe_event *)(void *)(room + 1),
                           (troupe_event *)(void *)(room + 4)};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_RC(troupe_event_init(bad[i]), -EINVAL);
        CHECK_RC(troupe_event_set(bad[i]), -EINVAL);
        CHECK_RC(troupe_event_clear(bad[i]), -EINVAL);
        CHECK_RC(troupe_event_wait(bad[i], TROUPE_NOW), -EINVAL);
        CHECK(!troupe_event_is_set(bad[i]));
    }
    for (size_t i = 0; i < sizeof(room); i++)
        CHECK_EQ(room[i], 0);
}

TEST(event_wait_ends_at_its_deadline)
{
    troupe_event event = {0};
    troupe_deadline deadline = troupe_after(0.13);

    CHECK_RC(troupe_event_wait(&event, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    CHECK_EQ(unit_slot()->wait_kind, 0u);
}

TEST(event_set_wakes_everybody)
{
    struct shared *s = new_shared();
    pid_t pids[5];

    for (size_t i = 0; i < 5; i++)
        pids[i] = unit_fork(wait_for_it, s);
    await_sleepers(s, 5);
    CHECK_EQ(s->slots[0]->wait_object, troupe__family_offset(&s->event));
    CHECK_EQ(s->flags[1], 0u);
    CHECK_RC(troupe_event_set(&s->event), 0);
    for (size_t i = 0; i < 5; i++)
        unit_join(pids[i]);
    CHECK_EQ(s->flags[1], 5u);
}

TEST(event_cleared_at_once_is_not_missed_by_those_who_waited)
{
    for (int round = 0; round < 30; round++) {
        struct shared *s = new_shared();
        pid_t pids[3];

        for (size_t i = 0; i < 3; i++)
            pids[i] = unit_fork(wait_for_it, s);
        await_sleepers(s, 3);
        CHECK_RC(troupe_event_set(&s->event), 0);
        CHECK_RC(troupe_event_clear(&s->event), 0);
        for (size_t i = 0; i < 3; i++)
            unit_join(pids[i]);
        CHECK_RC(troupe_event_wait(&s->event, TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_free(s), 0);
    }
}

/* Two sides hand a number to and fro by pulses alone: one that is missed stops
 * everything. */
struct pulses {
    troupe_event event[2];
    uint32_t turn;
};

/* Few: on a busy machine a pulse that falls between the look and the wait costs
 * the other side a turn of the processor, tens of milliseconds. */
#define PULSES 200u

static void
pulse_side(struct pulses *p, uint32_t side)
{
    for (uint32_t i = 0; i < PULSES; i++) {
        /* a pulse between the look and the wait is over when the wait begins:
         * so this wait must not be for ever */
        while (__atomic_load_n(&p->turn, __ATOMIC_SEQ_CST) != 2 * i + side)
            CHECK_LE(troupe_event_wait(&p->event[side], troupe_after(0.0005)),
                     0);
        __atomic_store_n(&p->turn, 2 * i + side + 1, __ATOMIC_SEQ_CST);
        CHECK_RC(troupe_event_set(&p->event[1 - side]), 0);
        CHECK_RC(troupe_event_clear(&p->event[1 - side]), 0);
    }
}

static void
pulse_one(void *argument)
{
    pulse_side(argument, 1);
}

TEST(event_pulses_keep_two_processes_going)
{
    struct pulses *p = unit_shared(sizeof(*p));
    pid_t pid = unit_fork(pulse_one, p);

    pulse_side(p, 0);
    unit_join(pid);
    CHECK_EQ(p->turn, 2 * PULSES);
}

/* A waiter that has said it is waiting gets every single pulse. */
static void
count_pulses(void *argument)
{
    struct shared *s = argument;

    s->slots[0] = unit_slot();
    for (uint32_t i = 0; i < 500; i++) {
        unit_raise(&s->flags[0]);
        CHECK_RC(troupe_event_wait(&s->event, TROUPE_FOREVER), 0);
        unit_raise(&s->flags[1]);
        unit_await(&s->flags[2], i + 1); /* it is cleared again */
    }
}

TEST(event_no_pulse_is_missed)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(count_pulses, s);

    for (uint32_t i = 0; i < 500; i++) {
        unit_await(&s->flags[0], i + 1);
        unit_await_waiter(s->slots[0], TROUPE__KIND_EVENT);
        CHECK_RC(troupe_event_set(&s->event), 0);
        CHECK_RC(troupe_event_clear(&s->event), 0);
        unit_await(&s->flags[1], i + 1);
        unit_raise(&s->flags[2]);
    }
    unit_join(pid);
}

static void
set_and_see_data(void *argument)
{
    struct shared *s = argument;

    for (uint32_t i = 1; i <= 2000; i++) {
        s->data = i;
        CHECK_RC(troupe_event_set(&s->event), 0);
        unit_await(&s->flags[2], i);
    }
}

TEST(event_what_was_written_before_a_set_is_seen_after_the_wait)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(set_and_see_data, s);

    for (uint32_t i = 1; i <= 2000; i++) {
        CHECK_RC(troupe_event_wait(&s->event, TROUPE_FOREVER), 0);
        CHECK_EQ(s->data, i);
        CHECK_RC(troupe_event_clear(&s->event), 0);
        unit_raise(&s->flags[2]);
    }
    unit_join(pid);
}

TEST(event_killed_waiter_leaves_nothing)
{
    struct shared *s = new_shared();
    pid_t killed = unit_fork(wait_for_it, s);
    pid_t other;

    await_sleepers(s, 1);
    unit_kill(killed);
    other = unit_fork(wait_for_it, s);
    await_sleepers(s, 2);
    CHECK_RC(troupe_event_set(&s->event), 0);
    unit_join(other);
    CHECK_EQ(s->flags[1], 1u);
    CHECK_RC(troupe_event_clear(&s->event), 0);
    CHECK_RC(troupe_event_wait(&s->event, TROUPE_NOW), -ETIMEDOUT);
}

static void
set_and_clear_forever(void *argument)
{
    struct shared *s = argument;

    for (;;) {
        CHECK_RC(troupe_event_set(&s->event), 0);
        unit_raise(&s->flags[3]);
        CHECK_RC(troupe_event_clear(&s->event), 0);
    }
}

/* A setter that dies between the word and the wake costs a bound, never
 * more. */
TEST_TIMEOUT(event_setters_killed_at_random, 60)
{
    for (int round = 0; round < 60; round++) {
        struct shared *s = new_shared();
        pid_t waiter = unit_fork(wait_for_it, s);
        pid_t setter;
        uint32_t sets;

        await_sleepers(s, 1);
        setter = unit_fork(set_and_clear_forever, s);
        unit_await(&s->flags[3], (uint32_t)(harness_random() % 3));
        unit_kill(setter);
        sets = s->flags[3];
        if (sets == 0 && s->event.word_ >> 3 == 0)
            CHECK_RC(troupe_event_set(&s->event), 0);
        unit_join(waiter);
        CHECK_RC(troupe_free(s), 0);
    }
}

static troupe_event *signal_event;

static void
set_in_a_handler(int signo)
{
    int saved = errno;

    (void)signo;
    errno = ERANGE;
    CHECK_RC(troupe_event_set(signal_event), 0);
    CHECK(troupe_event_is_set(signal_event));
    CHECK_EQ(errno, ERANGE);
    errno = saved;
}

TEST(event_set_in_a_signal_handler_wakes_the_interrupted_wait)
{
    struct shared *s = new_shared();
    struct sigaction action = {.sa_handler = set_in_a_handler};
    struct itimerval soon = {.it_value = {0, 20000}};

    signal_event = &s->event;
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
    CHECK_RC(troupe_event_wait(&s->event, TROUPE_FOREVER), 0);
}

static void
wait_for_the_handler_of_the_parent(void *argument)
{
    struct shared *s = argument;

    /* not a member yet: setting needs no membership */
    CHECK_EQ(troupe__thread_self->tag, 0u);
    signal_event = &s->event;
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(troupe__thread_self->tag, 0u);
}

TEST(event_set_in_a_handler_of_a_process_that_never_called_the_library)
{
    struct shared *s = new_shared();
    struct sigaction action = {.sa_handler = set_in_a_handler};
    pid_t waiter = unit_fork(wait_for_it, s);

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    await_sleepers(s, 1);
    unit_join(unit_fork(wait_for_the_handler_of_the_parent, s));
    unit_join(waiter);
}

static void
set_without_descriptors(void *argument)
{
    struct shared *s = argument;
    struct rlimit none = {0, 0};

    unit_await(&s->flags[0], 1);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    errno = ERANGE;
    CHECK_RC(troupe_event_set(&s->event), 0);
    CHECK_EQ(errno, ERANGE);
}

/* Async-signal-safe also where the bell of a poller cannot be rung. */
TEST(event_set_leaves_errno_alone_when_there_is_no_descriptor_to_ring_from)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(set_without_descriptors, s);
    int fd;

    CHECK_RC(troupe_event_fileno(&s->event, &fd), 0);
    CHECK_RC(troupe_event_wait(&s->event, TROUPE_NOW), -ETIMEDOUT);
    unit_raise(&s->flags[0]);
    unit_join(pid);
    CHECK_RC(troupe_event_wait(&s->event, TROUPE_NOW), 0);
    troupe_event_fini(&s->event);
    /* made once, and kept */
    harness_keep_fd(troupe__doorbell_sender());
}

/* The counter in the word ends and begins anew; a waiter only compares. */
TEST(event_counter_may_wrap)
{
    static const uint64_t counts[] = {UINT64_MAX >> 3, (UINT64_MAX >> 3) - 1,
                                      ((uint64_t)1 << 29) - 1,
                                      ((uint64_t)1 << 30) - 1};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct shared *s = new_shared();
        pid_t pid;

        s->event.word_ = counts[i] << 3;
        CHECK(!troupe_event_is_set(&s->event));
        CHECK_RC(troupe_event_wait(&s->event, TROUPE_NOW), -ETIMEDOUT);
        pid = unit_fork(wait_for_it, s);
        await_sleepers(s, 1);
        CHECK_RC(troupe_event_set(&s->event), 0);
        CHECK_RC(troupe_event_clear(&s->event), 0);
        unit_join(pid);
        for (int j = 0; j < 5; j++) {
            CHECK_RC(troupe_event_set(&s->event), 0);
            CHECK(troupe_event_is_set(&s->event));
            CHECK_RC(troupe_event_clear(&s->event), 0);
            CHECK(!troupe_event_is_set(&s->event));
        }
    }
}

static void *
wait_in_a_thread(void *argument)
{
    CHECK_RC(troupe_event_wait(argument, TROUPE_FOREVER), 0);
    return NULL;
}

TEST(event_in_private_memory_serves_threads)
{
    troupe_event event = {0};
    pthread_t threads[3];

    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_in_a_thread, &event),
                 0);
    CHECK_RC(troupe_event_set(&event), 0);
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(event_waits_on_under_a_storm_of_signals)
{
    struct shared *s = new_shared();
    troupe_deadline deadline;

    harness_storm(500);
    deadline = troupe_after(0.2);
    CHECK_RC(troupe_event_wait(&s->event, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    harness_storm(0);
}

enum { LOOK, SET_IT };

struct cancelled {
    troupe_event event;
    int what;
    int status;
};

/* Does it with a cancellation pending. */
static HARNESS_UNWOUND void *
cancelled_in(void *argument)
{
    struct cancelled *c = argument;

    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    c->status = c->what == LOOK ? troupe_event_wait(&c->event, TROUPE_NOW)
                                : troupe_event_set(&c->event);
    pthread_testcancel();
    return NULL;
}

static void
cancel_in(struct cancelled *c, int what)
{
    pthread_t thread;
    void *end;

    c->what = what;
    c->status = 1;
    CHECK_EQ(pthread_create(&thread, NULL, cancelled_in, c), 0);
    CHECK_EQ(pthread_join(thread, &end), 0);
    CHECK_EQ(end, PTHREAD_CANCELED);
}

TEST(event_that_is_polled_is_no_cancellation_point)
{
    struct cancelled *c = unit_shared(sizeof(*c));
    struct pollfd p = {.events = POLLIN};

    CHECK_RC(troupe_event_fileno(&c->event, &p.fd), 0);
    cancel_in(c, LOOK);
    CHECK_RC(c->status, -ETIMEDOUT);
    CHECK_RC(troupe_event_wait(&c->event, TROUPE_NOW), -ETIMEDOUT);
    cancel_in(c, SET_IT);
    CHECK_RC(c->status, 0);
    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK_RC(troupe_event_wait(&c->event, TROUPE_NOW), 0);
    troupe_event_fini(&c->event);
    harness_keep_fd(troupe__doorbell_sender());
}
