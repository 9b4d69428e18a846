/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks that the kernel lost, and recoverers that die or stop in recovery.
 */
#include "unit.h"

#include <troupe/event.h>
#include <troupe/lock.h>
#include <troupe/scope.h>

#include "heap/member.h"
#include "heap/pages.h"
#include "heap/slab.h"
#include "os/fault.h"

struct shared {
    troupe_lock lock;
    troupe_event event;
    uint32_t flags[8];
    struct troupe__slot *slots[4];
    uint64_t tags[4];
    int32_t pids[4];
    uint64_t point;
    troupe_scope *scope;
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

/* Bytes of the arena in use by anything but this thread's cache. */
static uint64_t
used(void)
{
    struct troupe__slot *slot = unit_slot();
    uint64_t free_bytes;
    uint64_t bytes;

    (void)unit_info();
    troupe__slab_recover(troupe__thread_self, slot, troupe__thread_self->index);
    troupe__pages_count(troupe__thread_self, &bytes, &free_bytes);
    return bytes - free_bytes;
}

/* Holds one of everything that dies with it. */
static void
hold(void *argument)
{
    struct shared *s = argument;

    CHECK_GE(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_scope_new(&s->scope), 0);
    for (size_t i = 0; i < 60; i++) {
        void *block = troupe_alloc(i * 50);

        CHECK(block != NULL);
        CHECK(troupe_scope_alloc(s->scope, i * 300) != NULL);
        CHECK_RC(troupe_free(block), 0);
    }
    s->slots[0] = unit_slot();
    s->tags[0] = troupe__thread_self->tag;
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

/* A member that was killed and whose token says that it lives, as when the
 * kernel could not read its list. Nobody may have recovered it before. */
static pid_t
lost_member(struct shared *s, bool reaped)
{
    uint32_t before = s->flags[0];
    pid_t pid = unit_fork(hold, s);
    uint32_t *token;

    unit_await(&s->flags[0], before + 1);
    unit_kill_only(pid);
    if (reaped)
        unit_reap(pid);
    token = troupe__slot_token(s->slots[0]);
    CHECK_NE(*token & FUTEX_OWNER_DIED, 0u);
    *token = (uint32_t)pid;
    CHECK(!troupe__tag_dead(s->tags[0]));
    return pid;
}

/* The slot of the lost member can be used again. */
static void
check_slot_is_free(const struct shared *s)
{
    (void)unit_info();
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK_EQ(*troupe__slot_token(s->slots[0]), 0u);
    CHECK_NE(s->slots[0]->generation, (uint32_t)(s->tags[0] >> 32));
    CHECK_EQ(s->slots[0]->rescuer, 0u);
    CHECK_EQ(unit_info().threads, 1u);
    CHECK_EQ(unit_info().members, 1u);
}

TEST(lost_mark_is_made_up_for_by_who_waits_for_the_lock)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    uint64_t before = 0;
    pid_t pid;

    for (int round = 0; round < 3; round++) {
        pid = lost_member(s, true);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER),
                 TROUPE_OWNER_DIED);
        CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
        CHECK_EQ(obituary.pid, pid);
        CHECK_RC(troupe_lock_consistent(&s->lock), 0);
        CHECK_RC(troupe_lock_release(&s->lock), 0);
        check_slot_is_free(s);
        if (round == 0)
            before = used();
    }
    CHECK_EQ(used(), before);
}

/* A zombie still has its number: its slot waits, those who wait for it do
 * not. */
TEST(lost_mark_of_a_zombie_does_not_hold_up_anybody)
{
    struct shared *s = new_shared();
    pid_t pid = lost_member(s, false);

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK_EQ(unit_info().members, 1u);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
    CHECK_NE(*troupe__slot_token(s->slots[0]), 0u);
    unit_reap(pid);
    check_slot_is_free(s);
}

/* No sleep of the waiter lasts until its bound. */
TEST(lost_mark_is_made_up_for_under_a_storm_of_signals)
{
    struct shared *s = new_shared();

    (void)lost_member(s, true);
    harness_storm(500);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    harness_storm(0);
    check_slot_is_free(s);
}

TEST(lost_mark_of_which_nobody_waits_for_a_lock)
{
    struct shared *s = new_shared();

    (void)lost_member(s, true);
    /* whoever waits for anything looks at the processes now and then */
    while (unit_info().members != 1)
        CHECK_RC(troupe_event_wait(&s->event, troupe_after(0.7)), -ETIMEDOUT);
    check_slot_is_free(s);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
}

static int
no_descriptors(const char *call)
{
    return strcmp(call, "pidfd_open") == 0 ? EMFILE : 0;
}

TEST(lost_mark_is_made_up_for_without_a_descriptor)
{
    struct shared *s = new_shared();

    (void)lost_member(s, true);
    troupe__shim_fault = no_descriptors;
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    troupe__shim_fault = NULL;
    check_slot_is_free(s);
}

/* Nobody is taken for dead because others say so: the process lives, and a
 * living thread has the number in the token. */
TEST(lost_mark_is_not_made_up_for_the_living)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(hold, s);
    uint32_t word;

    unit_await(&s->flags[0], 1);
    CHECK(!troupe__slot_verify(s->tags[0]));
    /* even when it was announced dead, by a wild store */
    s->slots[0]->dead_generation = s->slots[0]->generation;
    word = *troupe__slot_token(s->slots[0]);
    (void)unit_info();
    CHECK_EQ(*troupe__slot_token(s->slots[0]), word);
    s->slots[0]->dead_generation = 0;
    CHECK(!troupe__tag_dead(s->tags[0]));
    CHECK_RC(troupe_lock_acquire(&s->lock, troupe_after(0.5)), -ETIMEDOUT);
    unit_kill(pid);
}

/*
 * Points: the n-th atomic operation of a process from now on.
 */
static uint64_t points_left;
static uint64_t points_passed;
static int point_signal;

static void
at_a_point(const volatile void *address)
{
    (void)address;
    points_passed++;
    if (points_left != 0 && --points_left == 0) {
        troupe__shim_atomic_hook = NULL;
        (void)raise(point_signal);
    }
}

static void
arm(uint64_t point, int signo)
{
    points_left = point;
    points_passed = 0;
    point_signal = signo;
    troupe__shim_atomic_hook = at_a_point;
}

/* Joins first, so that all that follows is recovery. */
static void
recover(void *argument)
{
    struct shared *s = argument;

    (void)unit_slot();
    s->slots[1] = unit_slot();
    s->tags[1] = troupe__thread_self->tag;
    unit_raise(&s->flags[1]);
    unit_await(&s->flags[2], 1);
    arm(s->point, s->pids[0]);
    (void)troupe__slots_recover();
    troupe__shim_atomic_hook = NULL;
    s->flags[4] = (uint32_t)points_passed;
    unit_raise(&s->flags[3]);
}

/* A dead member, and a process that stands ready to recover it. */
static pid_t
dead_member_and_recoverer(struct shared *s, uint64_t point, int signo)
{
    pid_t pid = unit_fork(hold, s);
    pid_t recoverer;

    unit_await(&s->flags[0], 1);
    s->point = point;
    s->pids[0] = signo;
    recoverer = unit_fork(recover, s);
    unit_await(&s->flags[1], 1);
    unit_kill(pid);
    unit_raise(&s->flags[2]);
    return recoverer;
}

TEST_TIMEOUT(recoverer_killed_anywhere_is_finished_by_the_next, 120)
{
    uint64_t before = 0;
    uint64_t point = 1;
    bool done = false;

    while (!done) {
        struct shared *s = new_shared();
        pid_t recoverer = dead_member_and_recoverer(s, point, SIGKILL);
        int status;

        CHECK_EQ(waitpid(recoverer, &status, 0), recoverer);
        done = WIFEXITED(status);
        CHECK(done || WTERMSIG(status) == SIGKILL);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
        check_slot_is_free(s);
        CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
        CHECK_RC(troupe_free(s), 0);
        if (before == 0)
            before = used();
        CHECK_EQ(used(), before);
        point += 1 + point / 40;
    }
    CHECK_GT(point, 500u);
}

/* Between a recoverer's look at a token and its try another one recovers. */
static struct shared *overtaken;
static unsigned token_looks;

static void
overtake(const volatile void *address)
{
    if (address != troupe__slot_token(overtaken->slots[0]) ||
        ++token_looks != 2)
        return;
    troupe__shim_atomic_hook = NULL;
    unit_raise(&overtaken->flags[2]);
    unit_await(&overtaken->flags[3], 1);
}

TEST(recoverer_that_comes_too_late_leaves_the_slot_free)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(hold, s);
    pid_t other;

    unit_await(&s->flags[0], 1);
    other = unit_fork(recover, s); /* when flag 2 is raised */
    unit_await(&s->flags[1], 1);
    unit_kill(pid);
    overtaken = s;
    token_looks = 0;
    troupe__shim_atomic_hook = overtake;
    (void)troupe__slots_recover();
    CHECK_EQ(token_looks, 2u);
    CHECK_EQ(*troupe__slot_token(s->slots[0]), 0u);
    unit_join(other);
    check_slot_is_free(s);
}

static bool
is_stopped(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};

    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
    return info.si_code == CLD_STOPPED;
}

static void
look_around(void *argument)
{
    struct shared *s = argument;

    s->slots[2] = unit_slot();
    unit_raise(&s->flags[5]);
    for (int i = 0; i < 3; i++)
        (void)troupe__slots_recover();
}

/* Whether a child has ended, or waits for one of the library's locks. */
static bool
has_ended_or_waits(pid_t pid, const struct shared *s)
{
    siginfo_t info = {.si_pid = 0};

    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0 ||
           (s->flags[5] != 0 &&
            troupe__load_acquire(&s->slots[2]->wait_kind) != 0);
}

TEST_TIMEOUT(recoverer_stopped_anywhere_is_left_to_its_work, 120)
{
    uint64_t before = 0;
    uint64_t point = 1;
    bool done = false;

    while (!done) {
        struct timespec moment = {.tv_nsec = 100000};
        struct shared *s = new_shared();
        pid_t recoverer = dead_member_and_recoverer(s, point, SIGSTOP);
        pid_t other;

        done = !is_stopped(recoverer);
        other = unit_fork(look_around, s);
        while (!has_ended_or_waits(other, s))
            (void)nanosleep(&moment, NULL);
        CHECK_EQ(kill(recoverer, SIGCONT), 0);
        unit_join(other);
        unit_await(&s->flags[3], 1);
        /* its own token is what it was: its death is noticed */
        unit_join(recoverer);
        CHECK(troupe__tag_dead(s->tags[1]));
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
        check_slot_is_free(s);
        CHECK_RC(troupe_free(s), 0);
        if (before == 0)
            before = used();
        CHECK_EQ(used(), before);
        point += 1 + point / 8;
    }
    CHECK_GT(point, 500u);
}

/* The same for a process that comes and takes the dead one's slot. */
static void
come(void *argument)
{
    struct shared *s = argument;

    unit_raise(&s->flags[1]);
    unit_await(&s->flags[2], 1);
    arm(s->point, s->pids[0]);
    s->slots[1] = unit_slot();
    CHECK(troupe_alloc(100) != NULL);
    troupe__shim_atomic_hook = NULL;
    unit_raise(&s->flags[3]);
}

TEST_TIMEOUT(newcomer_killed_anywhere_leaves_the_slot_in_order, 120)
{
    uint64_t point = 1;
    uint64_t leaked = 0;
    uint64_t before = 0;
    bool done = false;

    while (!done) {
        struct shared *s = new_shared();
        pid_t dead = unit_fork(hold, s);
        pid_t newcomer;
        int status;

        unit_await(&s->flags[0], 1);
        s->point = point;
        s->pids[0] = SIGKILL;
        newcomer = unit_fork(come, s);
        unit_await(&s->flags[1], 1);
        unit_kill(dead);
        unit_raise(&s->flags[2]);
        CHECK_EQ(waitpid(newcomer, &status, 0), newcomer);
        done = WIFEXITED(status);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
        check_slot_is_free(s);
        CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
        CHECK_RC(troupe_free(s), 0);
        if (before == 0)
            before = used();
        leaked = used() - before;
        point += 1 + point / 20;
    }
    /* the block that was handed out to the last one at most */
    CHECK_LE(leaked, 65536u);
    CHECK_GT(point, 100u);
}
