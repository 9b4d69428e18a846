/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/lock.h>

#include "heap/member.h"

struct shared {
    troupe_lock lock;
    uint32_t flags[8];
    uint64_t count;
    uint64_t mirror;
    int32_t pids[8];
    struct troupe__slot *slots[8];
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

/* Takes the lock, says so, and stays. */
static void
hold(void *argument)
{
    struct shared *s = argument;

    CHECK_GE(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    s->slots[0] = unit_slot();
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

/* A process that was killed while it held the lock. */
static pid_t
dead_holder(struct shared *s)
{
    uint32_t before = s->flags[0];
    pid_t pid = unit_fork(hold, s);

    unit_await(&s->flags[0], before + 1);
    unit_kill(pid);
    return pid;
}

TEST(lock_zeroed_is_ready)
{
    struct shared *s = new_shared();

    CHECK(!troupe_lock_locked(&s->lock));
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    CHECK(troupe_lock_locked(&s->lock));
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK(!troupe_lock_locked(&s->lock));
    CHECK_RC(troupe_lock_init(&s->lock, NULL), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    troupe_lock_fini(&s->lock);
    troupe_lock_fini(NULL);
}

TEST(lock_null_and_misaligned_are_refused)
{
    _Alignas(8) unsigned char room[sizeof(troupe_lock) + 8] = {0};
    troupe_lock *bad[] = {NULL, (troupe_lock *)(void *)(room + 1),
                          (troupe_lock *)(void *)(room + 4)};
    troupe_obituary obituary;
    troupe_lock lock = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_RC(troupe_lock_init(bad[i], NULL), -EINVAL);
        CHECK_RC(troupe_lock_acquire(bad[i], TROUPE_NOW), -EINVAL);
        CHECK_RC(troupe_lock_release(bad[i]), -EINVAL);
        CHECK_RC(troupe_lock_consistent(bad[i]), -EINVAL);
        CHECK_RC(troupe_lock_obituary(bad[i], &obituary), -EINVAL);
        CHECK(!troupe_lock_locked(bad[i]));
    }
    CHECK_RC(troupe_lock_obituary(&lock, NULL), -EINVAL);
    for (size_t i = 0; i < sizeof(room); i++)
        CHECK_EQ(room[i], 0);
}

TEST(lock_free_one_cannot_be_released_or_declared_consistent)
{
    troupe_lock lock = {0};
    troupe_obituary obituary;

    CHECK_RC(troupe_lock_release(&lock), -EPERM);
    CHECK_RC(troupe_lock_consistent(&lock), -EPERM);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_consistent(&lock), -EINVAL);
    CHECK_RC(troupe_lock_obituary(&lock, &obituary), -ENOENT);
    CHECK_RC(troupe_lock_release(&lock), 0);
    CHECK_RC(troupe_lock_release(&lock), -EPERM);
}

TEST(lock_held_one_times_out)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(hold, s);
    troupe_deadline deadline;

    unit_await(&s->flags[0], 1);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_acquire(&s->lock, -1), -ETIMEDOUT);
    CHECK_RC(troupe_lock_acquire(&s->lock, 1), -ETIMEDOUT);
    deadline = troupe_after(0.12);
    CHECK_RC(troupe_lock_acquire(&s->lock, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    unit_kill(pid);
}

TEST(lock_holder_waits_for_itself)
{
    troupe_lock lock = {0};

    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_acquire(&lock, troupe_after(0.06)), -ETIMEDOUT);
    CHECK_RC(troupe_lock_release(&lock), 0);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), 0);
}

static troupe_lock *signal_lock;

static void
release_in_a_handler(int signo)
{
    (void)signo;
    errno = ERANGE;
    CHECK_RC(troupe_lock_release(signal_lock), 0);
    CHECK_EQ(errno, ERANGE);
}

static void
acquire_and_say(void *argument)
{
    struct shared *s = argument;

    unit_raise(&s->flags[0]);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
}

TEST(lock_release_in_a_signal_handler_wakes_who_waits)
{
    struct shared *s = new_shared();
    struct sigaction action = {.sa_handler = release_in_a_handler};
    pid_t waiter;

    signal_lock = &s->lock;
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
    waiter = unit_fork(acquire_and_say, s);
    unit_await(&s->flags[0], 1);
    CHECK_EQ(raise(SIGUSR1), 0);
    unit_join(waiter);
    CHECK(!troupe_lock_locked(&s->lock));
}

static void
release_it(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_release(&s->lock), -EPERM);
}

TEST(lock_may_be_released_by_anybody)
{
    struct shared *s = new_shared();

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    unit_join(unit_fork(release_it, s));
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

TEST(lock_of_a_killed_holder_is_handed_over_with_a_mark_that_stays)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    pid_t pid = dead_holder(s);

    CHECK(troupe_lock_locked(&s->lock));
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
    CHECK_EQ(obituary.pid, pid);
    CHECK_EQ(obituary.tid, pid);
    CHECK_STR(obituary.name, "MainProcess");
    CHECK_LE(obituary.when, troupe_clock());
    for (int i = 0; i < 3; i++) {
        CHECK_RC(troupe_lock_release(&s->lock), 0);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
    }
    CHECK_RC(troupe_lock_consistent(&s->lock), 0);
    CHECK_RC(troupe_lock_consistent(&s->lock), -EINVAL);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), -ENOENT);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
}

TEST(lock_of_a_killed_holder_can_be_tried_and_released)
{
    struct shared *s = new_shared();

    (void)dead_holder(s);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_consistent(&s->lock), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    (void)dead_holder(s);
    /* an ordinary release: nobody has seen the death, so there is no mark */
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

static void
exit_holding(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
}

TEST(lock_exit_of_the_holder_is_a_death)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    pid_t pid = unit_fork(exit_holding, s);

    unit_join(pid);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
    CHECK_EQ(obituary.pid, pid);
}

static void
exec_holding(void *argument)
{
    struct shared *s = argument;
    char name[] = "cat";
    char *arguments[] = {name, NULL};

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    s->flags[1] = 1;
    CHECK_EQ(dup2(s->pids[0], STDIN_FILENO), STDIN_FILENO);
    (void)execv("/bin/cat", arguments);
    FAIL("execv: %s", strerror(errno));
}

TEST(lock_exec_of_the_holder_is_a_death)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    int ends[2];
    pid_t pid;

    CHECK_EQ(pipe(ends), 0);
    s->pids[0] = ends[0];
    pid = unit_fork(exec_holding, s);
    unit_await(&s->flags[1], 1);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
    CHECK_EQ(obituary.pid, pid);
    unit_kill(pid);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void *
thread_holding(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    s->pids[0] = (int32_t)gettid();
    return NULL;
}

TEST(lock_end_of_the_holding_thread_is_a_death)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, thread_holding, s), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
    CHECK_EQ(obituary.pid, getpid());
    CHECK_EQ(obituary.tid, s->pids[0]);
}

static void
take_over_and_stay(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    unit_raise(&s->flags[1]);
    unit_sleep_forever();
}

TEST(lock_killed_taker_over_leaves_the_mark)
{
    struct shared *s = new_shared();
    troupe_obituary obituary;
    pid_t pid = 0;

    (void)dead_holder(s);
    for (uint32_t i = 1; i <= 3; i++) {
        pid = unit_fork(take_over_and_stay, s);
        unit_await(&s->flags[1], i);
        unit_kill(pid);
    }
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
    CHECK_EQ(obituary.pid, pid);
}

static void
wait_for_it(void *argument)
{
    struct shared *s = argument;

    s->slots[1] = unit_slot();
    unit_raise(&s->flags[1]);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_consistent(&s->lock), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
}

TEST(lock_sleeper_gets_it_when_the_holder_is_killed)
{
    struct shared *s = new_shared();
    pid_t holder = unit_fork(hold, s);
    pid_t waiter;

    unit_await(&s->flags[0], 1);
    waiter = unit_fork(wait_for_it, s);
    unit_await(&s->flags[1], 1);
    unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
    CHECK_EQ(s->slots[1]->wait_object, troupe__family_offset(&s->lock));
    unit_kill(holder);
    unit_join(waiter);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

static void
wait_for_it_after_others(void *argument)
{
    struct shared *s = argument;

    s->slots[1] = unit_slot();
    unit_raise(&s->flags[1]);
    CHECK_GE(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
}

TEST(lock_all_sleepers_get_it_when_holder_and_one_of_them_are_killed)
{
    for (int round = 0; round < 20; round++) {
        struct shared *s = new_shared();
        pid_t holder = unit_fork(hold, s);
        pid_t first;
        pid_t second;

        unit_await(&s->flags[0], 1);
        first = unit_fork(wait_for_it, s);
        unit_await(&s->flags[1], 1);
        unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
        second = unit_fork(wait_for_it_after_others, s);
        unit_await(&s->flags[1], 2);
        unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
        CHECK_EQ(kill(holder, SIGKILL), 0);
        CHECK_EQ(kill(first, SIGKILL), 0);
        unit_reap(holder);
        unit_reap(first);
        unit_join(second);
        CHECK_GE(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
        CHECK_EQ(troupe_free(s), 0);
    }
}

TEST(lock_killed_waiter_leaves_nothing)
{
    struct shared *s = new_shared();
    pid_t waiter;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    waiter = unit_fork(wait_for_it, s);
    unit_await(&s->flags[1], 1);
    unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
    unit_kill(waiter);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK(!troupe_lock_locked(&s->lock));
}

TEST(lock_poisoned_by_a_release_without_repair)
{
    struct shared *s = new_shared();

    CHECK_RC(troupe_lock_init(
                 &s->lock, TROUPE_OPTIONS(troupe_lock_options, .poison = true)),
             0);
    (void)dead_holder(s);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_consistent(&s->lock), 0);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    (void)dead_holder(s);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ENOTRECOVERABLE);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER),
                 -ENOTRECOVERABLE);
        CHECK_RC(troupe_lock_release(&s->lock), -EPERM);
        CHECK(!troupe_lock_locked(&s->lock));
    }
    /* made anew it is a lock again */
    CHECK_RC(troupe_lock_init(&s->lock, NULL), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

static void
wait_for_a_lost_one(void *argument)
{
    struct shared *s = argument;

    s->slots[1] = unit_slot();
    unit_raise(&s->flags[1]);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), -ENOTRECOVERABLE);
}

TEST(lock_poisoned_one_sends_its_sleepers_away)
{
    struct shared *s = new_shared();
    pid_t waiters[3];

    CHECK_RC(troupe_lock_init(
                 &s->lock, TROUPE_OPTIONS(troupe_lock_options, .poison = true)),
             0);
    (void)dead_holder(s);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    for (uint32_t i = 0; i < 3; i++) {
        waiters[i] = unit_fork(wait_for_a_lost_one, s);
        unit_await(&s->flags[1], i + 1);
        unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
    }
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    for (int i = 0; i < 3; i++)
        unit_join(waiters[i]);
}

TEST(lock_repair_is_the_holders_alone)
{
    struct shared *s = new_shared();
    pid_t pid;

    (void)dead_holder(s);
    pid = unit_fork(take_over_and_stay, s);
    unit_await(&s->flags[1], 1);
    CHECK_RC(troupe_lock_consistent(&s->lock), -EPERM);
    unit_kill(pid);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), TROUPE_OWNER_DIED);
}

TEST(lock_unowned_one_survives_its_acquirer)
{
    struct shared *s = new_shared();

    CHECK_RC(troupe_lock_init(&s->lock, TROUPE_OPTIONS(troupe_lock_options,
                                                       .unowned = true)),
             0);
    (void)dead_holder(s);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_acquire(&s->lock, troupe_after(0.15)), -ETIMEDOUT);
    CHECK_RC(troupe_lock_consistent(&s->lock), -EPERM);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_release(&s->lock), -EPERM);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

static void
does_not_hold(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_consistent(&s->lock), -EPERM);
}

TEST(lock_held_over_a_fork_stays_the_parents)
{
    struct shared *s = new_shared();

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    unit_join(unit_fork(does_not_hold, s));
    /* and the child's end was no death of the holder */
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

#define COUNT_EACH 20000

static void
count_up(void *argument)
{
    struct shared *s = argument;

    for (int i = 0; i < COUNT_EACH; i++) {
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
        s->count++;
        CHECK_EQ(s->mirror, s->count - 1);
        if (i % 64 == 0)
            (void)sched_yield(); /* so that others find it held */
        s->mirror = s->count;
        CHECK_RC(troupe_lock_release(&s->lock), 0);
    }
}

TEST(lock_excludes_processes_from_each_other)
{
    struct shared *s = new_shared();
    pid_t pids[6];

    for (size_t i = 0; i < 6; i++)
        pids[i] = unit_fork(count_up, s);
    for (size_t i = 0; i < 6; i++)
        unit_join(pids[i]);
    CHECK_EQ(s->count, UINT64_C(6) * COUNT_EACH);
}

static void
count_and_mend(void *argument)
{
    struct shared *s = argument;

    for (;;) {
        int status = troupe_lock_acquire(&s->lock, TROUPE_FOREVER);

        CHECK_GE(status, 0);
        if (status == TROUPE_OWNER_DIED) {
            /* the dead holder may have done one of the two stores */
            CHECK_LE(s->count - s->mirror, 1u);
            s->mirror = s->count;
            CHECK_RC(troupe_lock_consistent(&s->lock), 0);
        }
        CHECK_EQ(s->count, s->mirror);
        __atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELAXED);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&s->mirror, s->count, __ATOMIC_RELAXED);
        CHECK_RC(troupe_lock_release(&s->lock), 0);
    }
}

TEST_TIMEOUT(lock_survives_random_kills, 60)
{
    struct shared *s = new_shared();
    pid_t pids[5];

    for (size_t i = 0; i < 5; i++)
        pids[i] = unit_fork(count_and_mend, s);
    for (int kills = 0; kills < 150; kills++) {
        size_t i = harness_random() % 5;
        uint64_t before = __atomic_load_n(&s->count, __ATOMIC_RELAXED);

        /* somebody makes progress between any two deaths */
        while (__atomic_load_n(&s->count, __ATOMIC_RELAXED) <
               before + 1 + harness_random() % 500)
            (void)sched_yield();
        unit_kill(pids[i]);
        pids[i] = unit_fork(count_and_mend, s);
    }
    for (size_t i = 0; i < 5; i++)
        unit_kill(pids[i]);
    CHECK_GE(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    CHECK_LE(s->count - s->mirror, 1u);
}

static void
wait_in_a_storm(void *argument)
{
    harness_storm(500);
    wait_for_it(argument);
}

TEST(lock_waits_on_under_a_storm_of_signals)
{
    struct shared *s = new_shared();
    pid_t holder = unit_fork(hold, s);
    troupe_deadline deadline;
    pid_t waiter;

    unit_await(&s->flags[0], 1);
    waiter = unit_fork(wait_in_a_storm, s);
    unit_await(&s->flags[1], 1);
    harness_storm(500);
    deadline = troupe_after(0.3);
    CHECK_RC(troupe_lock_acquire(&s->lock, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    harness_storm(0);
    unit_kill(holder);
    unit_join(waiter);
}

static struct troupe__member_ref
own_ref(void)
{
    struct troupe__slot *slot = unit_slot();
    struct troupe__member_ref ref = {slot->member, slot->member_generation};

    return ref;
}

static void
wait_stoppably(void *argument)
{
    struct shared *s = argument;
    struct troupe__member_ref ref = own_ref();

    s->slots[1] = unit_slot();
    s->flags[2] = ref.number;
    s->flags[3] = ref.generation;
    troupe__thread_self->stoppable = 1;
    unit_raise(&s->flags[1]);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), -ECANCELED);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ECANCELED);
    /* outside of a stoppable section the request does not count */
    troupe__thread_self->stoppable = 0;
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
}

TEST(lock_wait_ends_when_its_process_is_asked_to_stop)
{
    struct shared *s = new_shared();
    struct troupe__member_ref ref;
    pid_t pid;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    pid = unit_fork(wait_stoppably, s);
    unit_await(&s->flags[1], 1);
    unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
    ref.number = s->flags[2];
    ref.generation = s->flags[3];
    troupe__member_stop(ref);
    unit_join(pid);
    CHECK_RC(troupe_lock_release(&s->lock), 0);
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), 0);
}

TEST(lock_publication_is_taken_back)
{
    troupe_lock lock = {0};
    struct troupe__slot *slot = unit_slot();

    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), 0);
    CHECK_EQ(slot->wait_kind, 0u);
    CHECK_RC(troupe_lock_acquire(&lock, troupe_after(0.001)), -ETIMEDOUT);
    CHECK_EQ(slot->wait_kind, 0u);
}

/* Sleepers behind one that gives up must not depend on its bound: with every
 * release a sleeper moves, whoever timed out meanwhile. */
static void
try_for_a_moment(void *argument)
{
    struct shared *s = argument;

    while (__atomic_load_n(&s->flags[2], __ATOMIC_SEQ_CST) == 0) {
        int status = troupe_lock_acquire(&s->lock, troupe_after(0.0002));

        if (status == 0)
            CHECK_RC(troupe_lock_release(&s->lock), 0);
        else
            CHECK_RC(status, -ETIMEDOUT);
    }
}

TEST(lock_deadlines_that_expire_lose_no_wake_up)
{
    struct shared *s = new_shared();
    pid_t impatient[3];
    pid_t patient[2];

    for (size_t i = 0; i < 3; i++)
        impatient[i] = unit_fork(try_for_a_moment, s);
    for (size_t i = 0; i < 2; i++)
        patient[i] = unit_fork(count_up, s);
    for (size_t i = 0; i < 2; i++)
        unit_join(patient[i]);
    unit_raise(&s->flags[2]);
    for (size_t i = 0; i < 3; i++)
        unit_join(impatient[i]);
    CHECK_EQ(s->count, UINT64_C(2) * COUNT_EACH);
}
