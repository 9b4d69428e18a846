/* SPDX-License-Identifier: Apache-2.0 */
/* The lock: nobody hangs, nobody is let in beside another, deaths are told. */
#include "common.h"

#include <troupe/lock.h>
#include <troupe/process.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
# define SYS_futex_waitv 449
#endif

enum { LOG = 16, OTHERS = 2 };

/* Written under the lock; what each acquire returned, in order. */
struct shared {
    troupe_lock lock;
    troupe_lock others[OTHERS];
    int inside;
    int entries;
    int log[LOG];
};

static struct shared *shared;

enum {
    WORD_BEGUN, /* the victim is past its first instruction */
    WORD_VICTIM_STATUS,
    WORD_SECOND_STATUS,
    WORD_BEHIND,
    WORD_DEAD,
    WORD_THREAD_OF_DEAD,
    WORD_PEER_HOLDS,
    WORD_LOOKERS,
    WORD_HELD,  /* when the survivors came the lock was held by the dead */
    WORD_LET_GO /* or the peer that held it had let it go */
};

enum { GATE_LOOKED = 4 };

static void
setup(void)
{
    shared = family_memory(sizeof(*shared));
}

static void
setup_poison(void)
{
    setup();
    CRASH_REQUIRE(
        troupe_lock_init(&shared->lock, TROUPE_OPTIONS(troupe_lock_options,
                                                       .poison = true)) == 0,
        CRASH_CORRUPTION, "init");
}

/* The critical section: alone, and the answer written down. */
static void
inside(int status)
{
    CRASH_REQUIRE(status == 0 || status == TROUPE_OWNER_DIED, CRASH_CORRUPTION,
                  "acquire: %s", troupe_error_name(status));
    CRASH_REQUIRE(__atomic_exchange_n(&shared->inside, 1, __ATOMIC_SEQ_CST) ==
                      0,
                  CRASH_CORRUPTION, "two inside at once");
    if (shared->entries < LOG)
        shared->log[shared->entries++] = status;
    __atomic_store_n(&shared->inside, 0, __ATOMIC_SEQ_CST);
}

/* Takes it and keeps it. */
static void
take(void)
{
    int status = troupe_lock_acquire(&shared->lock, TROUPE_FOREVER);

    CRASH_REQUIRE(status >= 0, CRASH_CORRUPTION, "acquire: %s",
                  troupe_error_name(status));
}

static void
pass_through(void)
{
    int status = troupe_lock_acquire(&shared->lock, PATIENCE);

    inside(status);
    status = troupe_lock_release(&shared->lock);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "release: %s",
                  troupe_error_name(status));
}

/*
 * Before a survivor touches the lock: did the dead hold it?  The first of them
 * looks, while the other one waits.  Nobody else may take it meanwhile.
 */
static void
look(void)
{
    if (atomic_fetch_add(crash_word(WORD_LOOKERS), 1) == 0) {
        atomic_store(crash_word(WORD_HELD),
                     troupe_lock_locked(&shared->lock) &&
                         atomic_load(crash_word(WORD_PEER_HOLDS)) == 0);
        crash_gate_open(GATE_LOOKED);
    } else
        crash_gate_wait(GATE_LOOKED);
}

static bool
was_held(void)
{
    return atomic_load(crash_word(WORD_HELD)) != 0;
}

static bool
was_begun(void)
{
    return atomic_load(crash_word(WORD_BEGUN)) != 0;
}

static void
look_and_pass(void)
{
    look();
    pass_through();
}

static void
begin(void)
{
    atomic_store(crash_word(WORD_BEGUN), 1);
}

static void
victim_told(int status)
{
    atomic_store(crash_word(WORD_VICTIM_STATUS), status);
}

static void
check_victim(int status)
{
    int told = (int)atomic_load(crash_word(WORD_VICTIM_STATUS));

    if (crash_completed() && told != status)
        crash_fail(CRASH_CORRUPTION, "the victim was told %s, not %s",
                   troupe_error_name(told), troupe_error_name(status));
}

/* Once told, everybody is told until somebody says it is repaired. */
static void
check_log(bool must_be_told, bool may_be_told)
{
    bool told = false;
    int i, status;

    for (i = 0; i < shared->entries; i++) {
        bool now = shared->log[i] == TROUPE_OWNER_DIED;

        if (told && !now)
            crash_fail(CRASH_CORRUPTION, "entry %d was not told of the death",
                       i);
        told |= now;
    }
    status = troupe_lock_acquire(&shared->lock, PATIENCE);
    CRASH_REQUIRE(status == TROUPE_OWNER_DIED || (status == 0 && !told),
                  CRASH_CORRUPTION, "the last acquire: %s, told before: %d",
                  troupe_error_name(status), told);
    told |= status == TROUPE_OWNER_DIED;
    if (must_be_told && !told)
        crash_fail(CRASH_CORRUPTION, "nobody was told of the dead holder");
    if (told && !may_be_told)
        crash_fail(CRASH_CORRUPTION, "a death was told that hurt nobody");
    if (told)
        CRASH_REQUIRE(troupe_lock_consistent(&shared->lock) == 0,
                      CRASH_CORRUPTION, "consistent");
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the last release");
    status = troupe_lock_acquire(&shared->lock, PATIENCE);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "after consistent: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the very last release");
    CRASH_REQUIRE(!troupe_lock_locked(&shared->lock), CRASH_CORRUPTION,
                  "still locked");
}

/* ---- acquire ---- */

static void
victim_acquire(void)
{
    begin();
    victim_told(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
}

/* A death is told if the lock was held, and not otherwise. */
static void
check_acquire(void)
{
    if (crash_completed() && !was_held())
        crash_fail(CRASH_CORRUPTION, "what the victim took is free");
    if (!was_begun() && was_held())
        crash_fail(CRASH_CORRUPTION, "held before the victim took it");
    check_log(was_held(), was_held());
    check_victim(0);
}

/* The same where a sleeper may take the lock before anybody looks. */
static void
check_acquire_sleeper(void)
{
    check_log(crash_completed(),
              was_begun() && atomic_load(crash_word(WORD_LET_GO)) != 0);
    check_victim(0);
}

/* All that came in came after the victim. */
static void
check_acquire_first(void)
{
    if (crash_completed() && shared->log[0] != TROUPE_OWNER_DIED)
        crash_fail(CRASH_CORRUPTION, "the first one in was not told");
    check_acquire();
}

SCENARIO(acquire_free) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "free",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_acquire,
    .survivors = {look_and_pass, look_and_pass},
    .check = check_acquire_first,
};

/* The first call of a process: it joins the family on the way. */
SCENARIO(acquire_cold) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "free, the first call of its process",
    .setup = setup,
    .victim = victim_acquire,
    .survivors = {look_and_pass, look_and_pass},
    .check = check_acquire_first,
};

static void
second_acquire(void)
{
    atomic_store(crash_word(WORD_SECOND_STATUS),
                 troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
}

static void
check_second(int status)
{
    int told = (int)atomic_load(crash_word(WORD_SECOND_STATUS));

    if (crash_second_completed() && told != status)
        crash_fail(CRASH_CORRUPTION, "the second victim was told %s, not %s",
                   troupe_error_name(told), troupe_error_name(status));
}

static void
check_two(void)
{
    if ((crash_completed() || crash_second_completed()) && !was_held())
        crash_fail(CRASH_CORRUPTION, "what a victim took is free");
    check_log(was_held(), was_held());
    check_victim(0);
    if (crash_completed())
        check_second(TROUPE_OWNER_DIED);
}

SCENARIO(acquire_two) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "free, a second victim acquires",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_acquire,
    .second_prepare = join_family,
    .second = second_acquire,
    .survivors = {look_and_pass, look_and_pass},
    .check = check_two,
};

/* A peer that holds the lock until gate 0 opens, and answers by gate 1. */
static void
peer_holds(void)
{
    inside(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
    atomic_store(crash_word(WORD_PEER_HOLDS), 1);
    crash_ready();
    crash_gate_wait(0);
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the holder's release");
    atomic_store(crash_word(WORD_PEER_HOLDS), 0);
    crash_gate_open(1);
}

static void
peer_sleeps(void)
{
    join_family();
    crash_ready();
    pass_through();
}

static bool
nudge_release(unsigned n)
{
    if (n > 0)
        return false;
    crash_gate_open(0);
    crash_gate_wait(1);
    return true;
}

/* Survivors that first let the holder go on, as the nudge does. */
static void
release_and_pass(void)
{
    crash_gate_open(0);
    pass_through();
}

static void
look_release_and_pass(void)
{
    look();
    release_and_pass();
}

SCENARIO(acquire_held) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, which releases it",
    .setup = setup,
    .peers = {peer_holds},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_release,
    .survivors = {look_release_and_pass, look_and_pass},
    .check = check_acquire,
};

/* Nobody comes after the victim: the sleeper must find out by itself. */
static void
only_release(void)
{
    atomic_store(crash_word(WORD_LET_GO),
                 atomic_load(crash_word(WORD_PEER_HOLDS)) == 0);
    crash_gate_open(0);
}

SCENARIO(acquire_held_sleeper) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, another sleeps before",
    .setup = setup,
    .peers = {peer_holds, peer_sleeps},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_release,
    .survivors = {only_release, NULL},
    .check = check_acquire_sleeper,
};

/* ---- a sleeper that is woken and dies must not take the wake with it ---- */

static void
peer_sleeps_behind(void)
{
    join_family();
    crash_ready();
    /* The victim sleeps first, so that it is the one to be woken. */
    crash_gate_wait(2);
    atomic_store(crash_word(WORD_BEHIND), 1);
    pass_through();
}

static bool
nudge_woken(unsigned n)
{
    if (n > 0)
        return false;
    crash_gate_open(2);
    while (atomic_load(crash_word(WORD_BEHIND)) == 0) {
    }
    crash_await_asleep(1);
    crash_gate_open(0);
    crash_gate_wait(1);
    return true;
}

static void
open_all(void)
{
    crash_gate_open(2);
    only_release();
}

SCENARIO(acquire_woken) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, another sleeps behind",
    .setup = setup,
    .peers = {peer_holds, peer_sleeps_behind},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_woken,
    .survivors = {open_all, NULL},
    .check = check_acquire_sleeper,
};

/* ---- the holder is dead, or dies while the victim sleeps ---- */

static void
peer_dies_holding(void)
{
    take();
    crash_ready();
}

static void
check_dead_holder(void)
{
    check_victim(TROUPE_OWNER_DIED);
    check_second(TROUPE_OWNER_DIED);
    check_log(true, true);
}

SCENARIO(acquire_dead) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by the dead",
    .setup = setup,
    .peers = {peer_dies_holding},
    .prepare = join_family,
    .victim = victim_acquire,
    .survivors = {pass_through, pass_through},
    .check = check_dead_holder,
};

SCENARIO(acquire_dead_two) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by the dead, a second victim acquires",
    .setup = setup,
    .peers = {peer_dies_holding},
    .prepare = join_family,
    .victim = victim_acquire,
    .second_prepare = join_family,
    .second = second_acquire,
    .survivors = {pass_through, pass_through},
    .check = check_dead_holder,
};

/* Holds it for good. */
static void
peer_holds_for_good(void)
{
    take();
    crash_ready();
    crash_gate_wait(3);
}

static bool
nudge_kill(unsigned n)
{
    if (n > 0)
        return false;
    crash_kill_peer(0);
    return true;
}

/* The holder must be dead before anybody can come in. */
static void
exit_and_pass(void)
{
    crash_gate_open(3);
    pass_through();
}

SCENARIO(acquire_dying) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, which dies",
    .setup = setup,
    .peers = {peer_holds_for_good},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_kill,
    .survivors = {exit_and_pass, pass_through},
    .check = check_dead_holder,
};

SCENARIO(acquire_dying_sleeper) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, which dies, another sleeps",
    .setup = setup,
    .peers = {peer_holds_for_good, peer_sleeps},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_kill,
    .survivors = {exit_and_pass, NULL},
    .check = check_dead_holder,
};

/*
 * ---- the death of a holder of several locks, with a sleeper for each ----
 *
 * The kernel wakes one of them; only the death, and who heard of it, can wake
 * the other. Nobody else looks around: the victim's lock is free.
 */

static void
peer_holds_others(void)
{
    unsigned i;

    for (i = 0; i < OTHERS; i++)
        CRASH_REQUIRE(troupe_lock_acquire(&shared->others[i], TROUPE_FOREVER) ==
                          0,
                      CRASH_CORRUPTION, "acquire");
    crash_ready();
    crash_gate_wait(3);
}

static void
sleep_for_other(unsigned i)
{
    int status;

    join_family();
    crash_ready();
    /* An older kernel tells of no death: there the bound has to do. */
    if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS)
        return;
    status = troupe_lock_acquire(&shared->others[i], TROUPE_FOREVER);
    CRASH_REQUIRE(status == TROUPE_OWNER_DIED, CRASH_CORRUPTION,
                  "acquire of the dead one's: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_lock_release(&shared->others[i]) == 0,
                  CRASH_CORRUPTION, "release of the dead one's");
}

static void
peer_sleeps_for_first(void)
{
    sleep_for_other(0);
}

static void
peer_sleeps_for_second(void)
{
    sleep_for_other(1);
}

static void
end_holder(void)
{
    look();
    crash_gate_open(3);
}

SCENARIO(acquire_dying_others) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "free; a holder of two others dies, a sleeper each",
    .setup = setup,
    .peers = {peer_holds_others, peer_sleeps_for_first, peer_sleeps_for_second},
    .untimed = 2 | 4,
    .prepare = join_family,
    .victim = victim_acquire,
    .survivors = {end_holder, NULL},
    .check = check_acquire,
};

/* ---- a deadline ---- */

static void
victim_try(void)
{
    victim_told(troupe_lock_acquire(&shared->lock, TROUPE_NOW));
}

static void
check_try(void)
{
    check_victim(-ETIMEDOUT);
    check_log(false, false);
}

SCENARIO(acquire_try) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, tries once",
    .setup = setup,
    .peers = {peer_holds},
    .prepare = join_family,
    .victim = victim_try,
    .survivors = {release_and_pass, pass_through},
    .check = check_try,
};

static void
victim_timed(void)
{
    victim_told(troupe_lock_acquire(&shared->lock, troupe_after(0.25)));
}

/* Its deadline passes by itself. */
static bool
nudge_nothing(unsigned n)
{
    return n < 4;
}

SCENARIO(acquire_timed) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, the deadline passes",
    .setup = setup,
    .peers = {peer_holds},
    .prepare = join_family,
    .victim = victim_timed,
    .nudge = nudge_nothing,
    .survivors = {release_and_pass, pass_through},
    .check = check_try,
};

/*
 * ---- a sleeper that gives up must not take the others' wake-up with it ----
 *
 * The one behind sleeps until the holder's release wakes it, by the bit that
 * stays in the word, or that is set again.  The holder lives on: its end would
 * wake who sleeps on its token as well.
 */

enum { GATE_NEVER = 6 };

static void
peer_holds_and_stays(void)
{
    peer_holds();
    crash_gate_wait(GATE_NEVER);
}

SCENARIO(acquire_timed_sleeper) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held beside a sleeper, the deadline passes",
    .setup = setup,
    .peers = {peer_holds_and_stays, peer_sleeps},
    .stays = 1,
    .untimed = 2,
    .prepare = join_family,
    .victim = victim_timed,
    .nudge = nudge_nothing,
    .survivors = {only_release, NULL},
    .check = check_try,
};

static troupe_process *child;

static int
target_sleeps(void *arg)
{
    (void)arg;
    CRASH_REQUIRE(troupe_stoppable_begin() == 0, CRASH_CORRUPTION, "stoppable");
    crash_step_begin();
    victim_told(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
    crash_step_end();
    return 0;
}

/* The stage may ask its own child alone to stop. */
static int
adopt_stoppable(void)
{
    CRASH_REQUIRE(troupe_process_new(
                      &child, TROUPE_OPTIONS(troupe_process_options,
                                             .target = target_sleeps)) == 0 &&
                      troupe_process_start(child) == 0,
                  CRASH_CORRUPTION, "start");
    return (int)troupe_process_pid(child);
}

static bool
ask_to_stop(void)
{
    CRASH_REQUIRE(troupe_process_stop(child) == 0, CRASH_CORRUPTION, "stop");
    return true;
}

static bool
nudge_stop(unsigned n)
{
    if (n > 0)
        return false;
    crash_gate_open(2);
    while (atomic_load(crash_word(WORD_BEHIND)) == 0) {
    }
    crash_await_asleep(1);
    return ask_to_stop();
}

static void
check_stopped(void)
{
    check_victim(-ECANCELED);
    check_log(false, false);
}

SCENARIO(acquire_stopped) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, asked to stop, another sleeps behind",
    .setup = setup,
    .peers = {peer_holds, peer_sleeps_behind},
    .adopt = adopt_stoppable,
    .nudge = nudge_stop,
    .survivors = {open_all, NULL},
    .check = check_stopped,
};

enum { GATE_LET_GO = 5 };

/* The victim is woken, but comes too late: the lock is held again, by one who
 * does not know that somebody sleeps. */
static void
peer_overtakes(void)
{
    inside(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
    crash_ready();
    crash_gate_wait(0);
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the holder's release");
    inside(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
    crash_gate_open(1);
    crash_gate_wait(GATE_LET_GO);
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the holder's second release");
}

/* The one behind may have been faster, and have ended: nobody waits for its
 * sleep when the victim is asked. */
static bool
nudge_overtaken(unsigned n)
{
    return n == 0 ? nudge_woken(n) : n == 1 && ask_to_stop();
}

static void
open_everything(void)
{
    open_all();
    crash_gate_open(GATE_LET_GO);
}

SCENARIO(acquire_overtaken) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, overtaken, asked to stop",
    .setup = setup,
    .peers = {peer_overtakes, peer_sleeps_behind},
    .adopt = adopt_stoppable,
    .nudge = nudge_overtaken,
    .survivors = {open_everything, NULL},
    .check = check_stopped,
};

/* ---- a lock that was given up ---- */

static void
pass_refused(void)
{
    int status = troupe_lock_acquire(&shared->lock, PATIENCE);

    CRASH_REQUIRE(status == -ENOTRECOVERABLE, CRASH_CORRUPTION,
                  "a lock given up: %s", troupe_error_name(status));
}

static void
take_marked(void)
{
    int status = troupe_lock_acquire(&shared->lock, TROUPE_FOREVER);

    CRASH_REQUIRE(status == TROUPE_OWNER_DIED, CRASH_CORRUPTION,
                  "acquire from the dead: %s", troupe_error_name(status));
}

static void
peer_gives_up(void)
{
    take_marked();
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "release");
    crash_ready();
}

/* Refused, it holds nothing, though it did on the way. */
static void
check_refused(void)
{
    check_victim(-ENOTRECOVERABLE);
    if (crash_completed() && troupe_lock_locked(&shared->lock))
        crash_fail(CRASH_CORRUPTION, "who was refused holds the lock");
    pass_refused();
    pass_refused();
}

SCENARIO(acquire_given_up) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "given up before",
    .setup = setup_poison,
    .peers = {peer_dies_holding, peer_gives_up},
    .prepare = join_family,
    .victim = victim_acquire,
    .survivors = {pass_refused, pass_refused},
    .check = check_refused,
};

static void
peer_holds_marked(void)
{
    take_marked();
    crash_ready();
    crash_gate_wait(0);
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "the holder's release");
    crash_gate_open(1);
    crash_gate_wait(GATE_NEVER);
}

static void
peer_refused(void)
{
    join_family();
    crash_ready();
    pass_refused();
}

/* Each of the sleepers is refused and wakes the next one; in the run without a
 * death nothing else wakes the second. */
SCENARIO(acquire_giving_up) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "held by a peer, which gives it up, two sleep before",
    .setup = setup_poison,
    .peers = {peer_dies_holding, peer_holds_marked, peer_refused, peer_refused},
    .stays = 2,
    .untimed = 4 | 8,
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_release,
    .survivors = {only_release, NULL},
    .check = check_refused,
};

/* ---- release ---- */

static void
prepare_held(void)
{
    inside(troupe_lock_acquire(&shared->lock, TROUPE_FOREVER));
}

static void
victim_release(void)
{
    begin();
    victim_told(troupe_lock_release(&shared->lock));
}

/* A holder that died before its release is told, one that died after is not. */
static void
check_release(void)
{
    if (crash_completed() && was_held())
        crash_fail(CRASH_CORRUPTION, "what the victim released is held");
    if (!was_begun() && !was_held())
        crash_fail(CRASH_CORRUPTION, "free before the victim released it");
    check_log(was_held(), was_held());
    check_victim(0);
}

/* The same where a sleeper may take the lock before anybody looks. */
static void
check_release_sleeper(void)
{
    check_log(!was_begun(), !crash_completed());
    check_victim(0);
}

/* The second one may have died holding in either case. */
static void
check_release_two(void)
{
    if (crash_second_completed() && !was_held())
        crash_fail(CRASH_CORRUPTION, "what the second victim took is free");
    check_log(was_held(), was_held());
    check_victim(0);
    if (crash_completed())
        check_second(0);
}

static void
check_release_free(void)
{
    check_victim(-EPERM);
    check_log(false, false);
}

SCENARIO(release_alone) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "nobody waits",
    .setup = setup,
    .prepare = prepare_held,
    .victim = victim_release,
    .survivors = {look_and_pass, look_and_pass},
    .check = check_release,
};

SCENARIO(release_sleeper) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "a peer sleeps",
    .setup = setup,
    .peers = {peer_sleeps},
    .late = 1,
    .woken = 1,
    .prepare = prepare_held,
    .victim = victim_release,
    .check = check_release_sleeper,
};

SCENARIO(release_sleepers) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "two peers sleep",
    .setup = setup,
    .peers = {peer_sleeps, peer_sleeps},
    .late = 3,
    .woken = 3,
    .prepare = prepare_held,
    .victim = victim_release,
    .check = check_release_sleeper,
};

SCENARIO(release_two) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "a second victim acquires",
    .setup = setup,
    .prepare = prepare_held,
    .victim = victim_release,
    .second_prepare = join_family,
    .second = second_acquire,
    .survivors = {look_and_pass, look_and_pass},
    .check = check_release_two,
};

/* The victim holds a lock whose data was hurt by an earlier death. */
static void
prepare_marked(void)
{
    int status = troupe_lock_acquire(&shared->lock, TROUPE_FOREVER);

    CRASH_REQUIRE(status == TROUPE_OWNER_DIED, CRASH_CORRUPTION, "prepare: %s",
                  troupe_error_name(status));
}

static void
check_still_marked(void)
{
    check_victim(0);
    check_log(true, true);
}

SCENARIO(release_marked) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "marked by a death, not repaired",
    .setup = setup,
    .peers = {peer_dies_holding},
    .prepare = prepare_marked,
    .victim = victim_release,
    .survivors = {pass_through, pass_through},
    .check = check_still_marked,
};

/* Poisoned: everybody is refused from the release on, nobody before. */
static void
pass_poisoned(void)
{
    int status = troupe_lock_acquire(&shared->lock, PATIENCE);

    if (status == -ENOTRECOVERABLE) {
        atomic_fetch_add(crash_word(WORD_BEHIND), 1);
        return;
    }
    CRASH_REQUIRE(status == TROUPE_OWNER_DIED, CRASH_CORRUPTION,
                  "acquire before the poison: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_lock_consistent(&shared->lock) == 0, CRASH_CORRUPTION,
                  "consistent");
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "release");
}

static void
check_poisoned(void)
{
    int status = troupe_lock_acquire(&shared->lock, PATIENCE);

    check_victim(0);
    if (!was_begun() && atomic_load(crash_word(WORD_BEHIND)) != 0)
        crash_fail(CRASH_CORRUPTION, "given up before the victim did");
    if (atomic_load(crash_word(WORD_BEHIND)) != 0 || crash_completed())
        CRASH_REQUIRE(status == -ENOTRECOVERABLE, CRASH_CORRUPTION,
                      "a lock given up: %s", troupe_error_name(status));
    else
        CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "a repaired lock: %s",
                      troupe_error_name(status));
}

SCENARIO(release_poison) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "marked by a death, given up",
    .setup = setup_poison,
    .peers = {peer_dies_holding},
    .prepare = prepare_marked,
    .victim = victim_release,
    .survivors = {pass_poisoned, NULL},
    .check = check_poisoned,
};

SCENARIO(release_free) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "free already",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_release,
    .survivors = {pass_through, pass_through},
    .check = check_release_free,
};

/* ---- the rest ---- */

static void
victim_consistent(void)
{
    victim_told(troupe_lock_consistent(&shared->lock));
}

/* It dies holding the lock in any case, which marks it again. */
SCENARIO(consistent_marked) = {
    .function = {FUNCTION(troupe_lock_consistent)},
    .state = "marked by a death",
    .setup = setup,
    .peers = {peer_dies_holding},
    .prepare = prepare_marked,
    .victim = victim_consistent,
    .survivors = {pass_through, pass_through},
    .check = check_still_marked,
};

/*
 * ---- a lock without an owner ----
 *
 * No death is noticed: what the dead held stays held, until anybody releases
 * it.
 */

static void
setup_unowned(void)
{
    setup();
    CRASH_REQUIRE(
        troupe_lock_init(&shared->lock, TROUPE_OPTIONS(troupe_lock_options,
                                                       .unowned = true)) == 0,
        CRASH_CORRUPTION, "init");
}

/* Once more to be had, by everybody. */
static void
free_and_pass(void)
{
    int status = troupe_lock_acquire(&shared->lock, TROUPE_NOW);

    CRASH_REQUIRE(status == (was_held() ? -ETIMEDOUT : 0), CRASH_CORRUPTION,
                  "a try: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                  "release of what the dead held");
    pass_through();
}

static void
look_and_free(void)
{
    look();
    free_and_pass();
}

static void
wait_and_free(void)
{
    crash_gate_open(0);
    crash_gate_wait(1);
    look_and_free();
}

static void
check_nobody(void)
{
    troupe_obituary obituary;
    int status;

    check_log(false, false);
    status = troupe_lock_acquire(&shared->lock, TROUPE_NOW);
    CRASH_REQUIRE(status == 0 &&
                      troupe_lock_obituary(&shared->lock, &obituary) ==
                          -ENOENT &&
                      troupe_lock_release(&shared->lock) == 0,
                  CRASH_CORRUPTION, "a lock without an owner is marked");
}

static void
check_unowned_acquired(void)
{
    if (crash_completed() && !was_held())
        crash_fail(CRASH_CORRUPTION, "what the dead held was taken from it");
    if (!was_begun() && was_held())
        crash_fail(CRASH_CORRUPTION, "held before the victim took it");
    check_victim(0);
    check_nobody();
}

SCENARIO(acquire_unowned) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "unowned, free",
    .setup = setup_unowned,
    .prepare = join_family,
    .victim = victim_acquire,
    .survivors = {look_and_free, NULL},
    .check = check_unowned_acquired,
};

SCENARIO(acquire_unowned_held) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "unowned, held by a peer, which releases it",
    .setup = setup_unowned,
    .peers = {peer_holds},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_release,
    .survivors = {wait_and_free, NULL},
    .check = check_unowned_acquired,
};

/* The stage may release it as well as anybody. */
static bool
nudge_free(unsigned n)
{
    CRASH_REQUIRE(n > 0 || troupe_lock_release(&shared->lock) == 0,
                  CRASH_CORRUPTION, "release of what the dead held");
    return n == 0;
}

static void
check_unowned_dead(void)
{
    if (crash_completed() && !was_held())
        crash_fail(CRASH_CORRUPTION, "what the dead held was taken from it");
    if (!was_begun() && !was_held())
        crash_fail(CRASH_CORRUPTION, "free before anybody released it");
    check_victim(0);
    check_nobody();
}

SCENARIO(acquire_unowned_dead) = {
    .function = {FUNCTION(troupe_lock_acquire)},
    .state = "unowned, held by the dead, another releases it",
    .setup = setup_unowned,
    .peers = {peer_dies_holding},
    .prepare = join_family,
    .victim = victim_acquire,
    .nudge = nudge_free,
    .survivors = {look_and_free, NULL},
    .check = check_unowned_dead,
};

/* Its release would be one too many if the survivor's came between. */
static void
peer_takes(void)
{
    join_family();
    crash_ready();
    CRASH_REQUIRE(troupe_lock_acquire(&shared->lock, PATIENCE) == 0,
                  CRASH_CORRUPTION, "acquire without an owner");
    atomic_store(crash_word(WORD_BEHIND), 1);
}

static void
survivor_releases(void)
{
    int status = troupe_lock_release(&shared->lock);

    CRASH_REQUIRE(status == 0 || status == -EPERM, CRASH_CORRUPTION,
                  "release: %s", troupe_error_name(status));
}

static void
check_unowned_released(void)
{
    check_victim(0);
    if (atomic_load(crash_word(WORD_BEHIND)) == 0)
        crash_fail(CRASH_HANG, "the sleeper never had it");
    if (troupe_lock_locked(&shared->lock))
        CRASH_REQUIRE(troupe_lock_release(&shared->lock) == 0, CRASH_CORRUPTION,
                      "release of what is held");
    check_nobody();
}

SCENARIO(release_unowned) = {
    .function = {FUNCTION(troupe_lock_release)},
    .state = "unowned, a peer sleeps",
    .setup = setup_unowned,
    .peers = {peer_takes},
    .late = 1,
    .woken = 1,
    .prepare = prepare_held,
    .victim = victim_release,
    .survivors = {survivor_releases, NULL},
    .check = check_unowned_released,
};

/* Nobody holds it in particular, so nobody may call it repaired. */
static void
check_not_repaired(void)
{
    check_victim(-EPERM);
    if (!was_held())
        crash_fail(CRASH_CORRUPTION, "what the dead held was taken from it");
    check_nobody();
}

SCENARIO(consistent_unowned) = {
    .function = {FUNCTION(troupe_lock_consistent)},
    .state = "unowned, held",
    .setup = setup_unowned,
    .prepare = prepare_held,
    .victim = victim_consistent,
    .survivors = {look_and_free, NULL},
    .check = check_not_repaired,
};

static void
victim_obituary_of_nobody(void)
{
    troupe_obituary obituary;

    victim_told(troupe_lock_obituary(&shared->lock, &obituary));
}

static void
check_no_obituary(void)
{
    check_victim(-ENOENT);
    if (!was_held())
        crash_fail(CRASH_CORRUPTION, "what the dead held was taken from it");
    check_nobody();
}

SCENARIO(obituary_unowned) = {
    .function = {FUNCTION(troupe_lock_obituary)},
    .state = "unowned, held",
    .setup = setup_unowned,
    .prepare = prepare_held,
    .victim = victim_obituary_of_nobody,
    .survivors = {look_and_free, NULL},
    .check = check_no_obituary,
};

/* Says by which number it will be told of. */
static void
peer_dies_known(void)
{
    take();
    atomic_store(crash_word(WORD_DEAD), getpid());
    crash_ready();
}

/* A process that the library did not start has the name of a main one. */
static void
victim_obituary(void)
{
    troupe_obituary obituary = {.name = "?"};
    int status = troupe_lock_obituary(&shared->lock, &obituary);

    atomic_store(crash_word(WORD_VICTIM_STATUS),
                 strcmp(obituary.name, "MainProcess") == 0 ? status : -EBADMSG);
    atomic_store(crash_word(WORD_BEHIND), obituary.pid);
    atomic_store(crash_word(WORD_THREAD_OF_DEAD), obituary.tid);
}

static void
check_obituary(void)
{
    int64_t pid = atomic_load(crash_word(WORD_DEAD));

    if (crash_completed() &&
        (atomic_load(crash_word(WORD_VICTIM_STATUS)) != 0 ||
         atomic_load(crash_word(WORD_BEHIND)) != pid ||
         atomic_load(crash_word(WORD_THREAD_OF_DEAD)) != pid))
        crash_fail(CRASH_CORRUPTION, "the dead holder is not named");
    check_log(true, true);
}

SCENARIO(obituary_marked) = {
    .function = {FUNCTION(troupe_lock_obituary)},
    .state = "marked by a death",
    .setup = setup,
    .peers = {peer_dies_known},
    .prepare = prepare_marked,
    .victim = victim_obituary,
    .survivors = {pass_through, pass_through},
    .check = check_obituary,
};

/* Nobody uses the lock yet, or any more: what counts is the one made next. */
static void
renew_and_pass(void)
{
    if (!crash_completed())
        CRASH_REQUIRE(troupe_lock_init(&shared->lock, NULL) == 0,
                      CRASH_CORRUPTION, "init");
    pass_through();
}

/* The memory is full of what was there before. */
static void
setup_junk(void)
{
    setup();
    memset(&shared->lock, 0x5a, sizeof(shared->lock));
}

static void
check_zeroed(void)
{
    static const troupe_lock zero;

    if (crash_completed() && memcmp(&zero, &shared->lock, sizeof(zero)) != 0)
        crash_fail(CRASH_CORRUPTION, "what was ended is not zeroed");
    CRASH_REQUIRE(troupe_lock_init(&shared->lock, NULL) == 0, CRASH_CORRUPTION,
                  "init");
    pass_through();
    check_log(false, false);
}

static void
victim_init(void)
{
    victim_told(troupe_lock_init(
        &shared->lock, TROUPE_OPTIONS(troupe_lock_options, .poison = true)));
}

static void
check_new(void)
{
    check_victim(0);
    check_log(false, false);
}

SCENARIO(init_new) = {
    .function = {FUNCTION(troupe_lock_init)},
    .state = "nobody uses it yet",
    .setup = setup_junk,
    .prepare = join_family,
    .victim = victim_init,
    .survivors = {renew_and_pass, NULL},
    .check = check_new,
};

static void
victim_fini(void)
{
    troupe_lock_fini(&shared->lock);
}

SCENARIO(fini_old) = {
    .function = {FUNCTION(troupe_lock_fini)},
    .state = "nobody uses it any more",
    .setup = setup_poison,
    .prepare = join_family,
    .victim = victim_fini,
    .check = check_zeroed,
};

static void
setup_joined(void)
{
    setup();
    join_family();
}

static void
call_locked(void)
{
    (void)troupe_lock_locked(&shared->lock);
}

EXEMPT(locked_reads) = {
    "troupe_lock_locked", (void (*)(void))troupe_lock_locked,
    setup_joined,         call_locked,
    "loads one word",
};

/* ---- the end of a thread, whose process lives on ---- */

enum { WORD_PROCESS = 20, WORD_THREAD };

static void
setup_thread(void)
{
    limited_heap();
    setup();
    counted_heap();
}

/* Holds the lock, and has blocks in its cache. */
static void *
thread_main(void *arg)
{
    join_family();
    take();
    CRASH_REQUIRE(troupe_free(troupe_alloc(COUNTED_SIZE)) == 0,
                  CRASH_CORRUPTION, "free");
    atomic_store(crash_word(WORD_THREAD), (int64_t)syscall(SYS_gettid));
    crash_step_begin();
    return arg;
}

static int
adopt_thread(void)
{
    pthread_t thread;
    pid_t pid = fork();
    siginfo_t info;
    int64_t tid;

    CRASH_REQUIRE(pid >= 0, CRASH_CORRUPTION, "fork: %d", errno);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CRASH_REQUIRE(pthread_create(&thread, NULL, thread_main, NULL) == 0,
                      CRASH_CORRUPTION, "no thread");
        (void)pthread_join(thread, NULL);
        for (;;)
            pause();
    }
    atomic_store(crash_word(WORD_PROCESS), pid);
    while ((tid = atomic_load(crash_word(WORD_THREAD))) == 0)
        sched_yield();
    /* Nobody's child, and not to be waited for, until it is traced. */
    while (waitid(P_PID, (id_t)tid, &info,
                  WSTOPPED | WNOHANG | WNOWAIT | __WALL) != 0)
        sched_yield();
    return (int)tid;
}

/* An exit is a death too: the lock was held, whatever became of the thread. */
static void
check_thread(void)
{
    troupe_heap_info info = {.size = sizeof(info)};
    pid_t pid = (pid_t)atomic_load(crash_word(WORD_PROCESS));

    check_log(true, true);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, __WALL);
    do {
        CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                      "no figures about the heap");
        sched_yield();
    } while (info.members != 1);
    counted_check(0);
}

SCENARIO(thread_ends) = {
    .operation = "thread exit",
    .state = "holding a lock, with a cached block",
    .setup = setup_thread,
    .adopt = adopt_thread,
    .exits = true,
    .survivors = {pass_through, pass_through},
    .check = check_thread,
};
