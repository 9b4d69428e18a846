/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kill-point engine: kill a process at a chosen instruction of an
 * operation, let survivors go on, and see what they find.
 *
 * A scenario names an operation and the state of its peers.  For every kill
 * point the engine forks a *stage*, a process that has never touched the
 * library.  The stage becomes the root of a family of its own, calls setup(),
 * starts the peers and waits until each of them sleeps, then forks the victim,
 * drives it to the kill point under ptrace and kills it there.  Two survivors
 * then run, everybody must end before the engine's deadline, and check() looks
 * at what is left.  One stage, one kill: no state passes from one point to the
 * next.
 *
 * The *distinct* kill points of an operation are found by single-stepping it
 * once: its start, and each instruction after which shared memory or the
 * robust list of the thread differs, or which was a system call; and each
 * moment it slept.  Between two of them a death leaves the same world behind.
 */
#ifndef TROUPE_TESTS_CRASH_H
#define TROUPE_TESTS_CRASH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum crash_kind {
    CRASH_HANG,
    CRASH_CORRUPTION,
    CRASH_LOSS,
    CRASH_DUPLICATE,
    CRASH_KINDS
};

enum { CRASH_PEERS = 4, CRASH_GATES = 12, CRASH_WORDS = 64, CRASH_ITEMS = 256 };

/* An exported function that a scenario claims to kill inside of. */
struct crash_covers {
    const char *name;
    void (*address)(void);
};

#define CRASH_COVERS(symbol)        \
 {                                  \
#  symbol, (void (*)(void))(symbol) \
 }

struct crash_scenario {
    /* The function it is about; or `operation` says what, and `covers`, which
     * ends with a NULL name, which functions.  Each must really be entered. */
    struct crash_covers function[2];
    const char *operation;
    const char *state;
    const struct crash_covers *covers;
    /* In the stage, before anybody else exists. */
    void (*setup)(void);
    /*
     * Each in its own process, started in order.  A peer calls crash_ready()
     * and then sleeps, in the library or at a gate; only then the next starts.
     */
    void (*peers[CRASH_PEERS])(void);
    /* Bit i: peer i starts only after the victim's prepare(). */
    unsigned late;
    /* Bit i: peer i never ends by itself, the engine ends it. */
    unsigned stays;
    /*
     * Bit i: the operation, when it completes, must wake peer i by itself.
     * Checked by a run without a death in which the peer's sleeps have no
     * timeout, so that a wake-up which is never sent is found at once and
     * without looking at a clock.
     */
    unsigned woken;
    /* Bit i: the sleeps of peer i have no timeout in that run either, but it
     * ends only with the survivors. */
    unsigned untimed;
    /* The operation sleeps and is never woken; else it must return. */
    bool blocks;
    /* The operation ends its process. */
    bool exits;
    /* It has instructions by the 100,000: no sample of all scenarios has it,
     * and of all its instructions the distinct points are enough. */
    bool lengthy;
    /* In the victim, before the first kill point. */
    void (*prepare)(void);
    /* The operation; every instruction in here can be the last one. */
    void (*victim)(void);
    /*
     * In place of the two: a child that the library itself has forked in the
     * stage and that calls crash_step_begin() and crash_step_end() around the
     * operation.
     */
    int (*adopt)(void);
    /*
     * In the stage, when the victim sleeps for the n-th time (from 0): makes a
     * peer do what the victim waits for.  Returns false when there is nothing
     * more to do, and the victim sleeps for good.
     */
    bool (*nudge)(unsigned n);
    /* A second victim that comes while the first is dead or stopped. */
    void (*second_prepare)(void);
    void (*second)(void);
    /* It comes after so many first deaths, from all over; 0 is after each. */
    unsigned firsts;
    /*
     * In place of the two: the child that the first victim has forked, if it
     * has come so far, and its nudge when the first is dead.
     */
    int (*second_adopt)(void);
    bool (*second_nudge)(unsigned n);
    /* In two fresh processes after the death; the second may be NULL. */
    void (*survivors[2])(void);
    /* In the stage, when all others have ended. */
    void (*check)(void);
};

/* ---- for peers, victims, survivors and checks ---- */

/* A peer says that its next sleep is the one to wait for. */
void crash_ready(void);

/* Gates open once and stay open. */
void crash_gate_open(unsigned gate);
void crash_gate_wait(unsigned gate);
bool crash_gate_is_open(unsigned gate);

/* Around the operation of an adopted victim. */
void crash_step_begin(void);
void crash_step_end(void);

/*
 * The same in a process that the stage has not forked itself: the child of a
 * peer, or of the victim. It waits here until the stage comes for it by
 * crash_adopt_far(), or has come for all it wanted.
 */
void crash_step_begin_far(void);
int crash_adopt_far(void);

/*
 * The nudge of a victim whose sleeps end without one, because children that it
 * started live by themselves.  How often it sleeps differs from run to run, so
 * its points are counted from its beginning.
 */
bool crash_sleeps_end(unsigned n);

/* In the stage: kills a peer, which is then no finding. */
void crash_kill_peer(unsigned peer);

/* In the stage: waits until a peer sleeps. It must be past its last sleep. */
void crash_await_asleep(unsigned peer);
/* Whether it does, or is gone: where to wait for it would keep it from going
 * on, as in the run without a death. */
bool crash_asleep(unsigned peer);

/* Scratch shared by all processes of one run, zero at its start. */
_Atomic int64_t *crash_word(unsigned index);

/* Did the (second) victim's operation return before it died? */
bool crash_completed(void);
bool crash_second_completed(void);

/* True in the run without a death. */
bool crash_is_control(void);

/* Records a finding; the run goes on. */
void crash_fail(enum crash_kind kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Records a finding and ends this process. */
void crash_give_up(enum crash_kind kind, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#define CRASH_REQUIRE(condition, kind, ...) \
 do {                                       \
  if (!(condition))                         \
   crash_give_up(kind, __VA_ARGS__);        \
 } while (0)

/*
 * The ledger of items that travel through a queue.  Producers call
 * crash_put_begin() before and crash_put_done() after, consumers crash_got().
 */
void crash_put_begin(unsigned item);
void crash_put_done(unsigned item);
void crash_got(unsigned item);
unsigned crash_got_count(unsigned item);
/* How often an item was begun to be put and has not arrived, of all items. */
unsigned crash_missing_count(void);
/*
 * After the queue has been drained: nothing twice, nothing that nobody put,
 * nothing missing but at most `hands` items that a dead consumer had taken.
 */
void crash_check_items(unsigned hands);

/* ---- for programs that run scenarios ---- */

struct crash_options {
    const char *filter;  /* substring of "operation/state", NULL is all */
    const char *library; /* whose exports must all be covered, or NULL */
    long only_point;     /* run just this point, -1 is all */
    unsigned deadline;   /* seconds until a survivor counts as hung */
    unsigned stepping;   /* so many more where a victim is stepped */
    unsigned sample;     /* at most so many points a victim, 0 is all */
    unsigned jobs;       /* scenarios at a time */
    bool brute;          /* every instruction */
    bool all_pairs;      /* no pair of deaths is spared */
    bool without_waitv;  /* make futex_waitv() fail as on an old kernel */
    bool verbose;
    bool quiet;         /* no line a scenario */
    bool stop_at_first; /* end a scenario at its first finding */
};

struct crash_totals {
    unsigned long points;
    unsigned long found[CRASH_KINDS];
    unsigned long missed;   /* points that could not be reached again */
    unsigned long replaced; /* the run took another way than the first */
    unsigned long spared;   /* pairs left out, see second_victims() */
    unsigned long errors;   /* the engine or a scenario itself is broken */
    unsigned long scenarios;
};

/*
 * An exported function without kill points must say why: it writes no shared
 * memory.  `call` makes typical calls of it, which the engine single-steps to
 * see that this is true; NULL where it cannot be called alone, with `reason`
 * saying why.
 */
struct crash_exempt {
    const char *name;
    void (*address)(void);
    void (*setup)(void);
    void (*call)(void);
    const char *reason;
};

/* For setup(): who makes the calls runs this before it is stepped. */
void crash_exempt_prepare(void (*prepare)(void));

void crash_run(const struct crash_options *options,
               const struct crash_scenario *const *scenarios, size_t count,
               struct crash_totals *totals);
void crash_run_exempt(const struct crash_options *options,
                      const struct crash_exempt *exempt, size_t count,
                      struct crash_totals *totals);
int crash_main(int argc, char **argv,
               const struct crash_scenario *const *scenarios, size_t count,
               const struct crash_exempt *exempt, size_t exempt_count);

#endif
