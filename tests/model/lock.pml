/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock word (heap/mutex.c) and the lock's mark (sync/lock.c), with threads
 * that may be killed between any two steps.
 *
 * Two threads at least survive, so a survivor can be kept waiting by the dead
 * and by the living. A sleep ends by a wake, by the holder's death where it is
 * watched (WAITV), and by its bound: `timeout` stands for the bound, because
 * when nothing else can happen time passes.
 *
 * Asserted: at most one living thread inside; who enters after a death inside
 * is told; the word is never free while somebody is inside; a bound that passes
 * leads on, so that nobody sleeps from bound to bound. That nobody sleeps
 * without one is Spin's search for invalid end states.
 *
 * Planted faults, each of which the search must find: UNBOUNDED (no bound),
 * NO_DEAD_CHECK (a dead holder is waited for), STEAL (a holder is taken for dead
 * when the wait was long), NO_MARK (the taker-over is not told), LOST_BIT (the
 * woken does not keep the waiters' bit; found with UNBOUNDED_LIVE, where only
 * deaths let bounds pass).
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

/* The word. holder: 0 free, else thread + 1. One atomic in the program. */
byte holder = 0;
bool waiters = false;

bool mark = false;         /* sticky: a holder died, nobody said consistent */
bool dead[THREADS];        /* the kernel has marked the token */
bool inside[THREADS];      /* ghost: in the critical section, alive or not */
bool died_inside = false;  /* ghost: must be told to the next one */
bool asleep[THREADS];
bool woken[THREADS];
byte watched[THREADS];     /* the holder whose death wakes the sleeper */
byte kills = KILLS;

inline wake_one() {
    if
    :: atomic { asleep[0] && !woken[0] -> woken[0] = true }
    :: atomic { asleep[1] && !woken[1] -> woken[1] = true }
#if THREADS > 2
    :: atomic { asleep[2] && !woken[2] -> woken[2] = true }
#endif
#if THREADS > 3
    :: atomic { asleep[3] && !woken[3] -> woken[3] = true }
#endif
    :: else -> skip
    fi
}

/* May be killed here. The kernel marks the token and wakes one that watches. */
inline may_die() {
    if
    :: atomic { kills > 0 ->
           kills--;
           dead[me] = true;
           if
           :: inside[me] -> died_inside = true
           :: else -> skip
           fi
       }
       goto killed
    :: true -> skip
    fi
}

proctype thread(byte me) {
    byte rounds = 0;
    byte seen = 0;
    bool seen_waiters = false;
    bool slept = false;
    bool told = false;
    bool old_waiters = false;
    byte bounds = 0;

again:
    if
    :: rounds == ROUNDS -> goto done
    :: else -> rounds++
    fi;
    slept = false;
    told = false;

acquire:
    may_die();
    /* the look at the word */
    atomic { seen = holder; seen_waiters = waiters };
    may_die();
    if
    :: seen == 0 ->
        /* CAS 0 -> me, with the bit if this thread has slept */
        atomic {
            if
            :: holder == 0 && !waiters ->
                holder = me + 1;
#ifdef LOST_BIT
                waiters = false;
#else
                waiters = slept;
#endif
                inside[me] = true
            :: else -> goto acquire
            fi
        };
        goto entered
    :: else -> skip
    fi;
#ifndef NO_DEAD_CHECK
    if
    :: dead[seen - 1] ->
        may_die();
        /* CAS seen -> me | waiters */
        atomic {
            if
            :: holder == seen && waiters == seen_waiters ->
                holder = me + 1;
                waiters = true;
                inside[me] = true;
                /* the one before is out of the way */
                inside[seen - 1] = false
            :: else -> goto acquire
            fi
        };
        may_die();
#ifndef NO_MARK
        mark = true;
#endif
        goto entered
    :: else -> skip
    fi;
#endif
    if
    :: !seen_waiters ->
        may_die();
        /* CAS seen -> seen | waiters */
        atomic {
            if
            :: holder == seen && !waiters -> waiters = true
            :: else -> goto acquire
            fi
        }
    :: else -> skip
    fi;
    slept = true;
    may_die();
    /* futex_waitv: sleeps only while the word and the token are as seen */
    atomic {
        if
#ifdef NO_DEAD_CHECK
        :: holder == seen && waiters ->
#else
        :: holder == seen && waiters && !dead[seen - 1] ->
#endif
            asleep[me] = true;
            woken[me] = false;
            watched[me] = seen
        :: else -> goto acquire
        fi
    };
    if
    :: woken[me]
#ifdef WAITV
    :: dead[watched[me] - 1]
#endif
#ifndef UNBOUNDED
#ifdef UNBOUNDED_LIVE
    :: kills < KILLS && timeout -> bounds++; assert(bounds <= 4)
#else
    /* Time passes only when nobody can move: then the holder is dead, or the
     * word free, and whoever looks gets it. Others may be faster, once each. */
    :: timeout -> bounds++; assert(bounds <= 4)
#endif
#endif
#ifdef STEAL
    :: true ->
        atomic {
            asleep[me] = false;
            if
            :: holder == seen ->
                holder = me + 1;
                inside[me] = true
            :: else -> goto acquire
            fi
        };
        goto entered
#endif
    fi;
    asleep[me] = false;
    goto acquire;

entered:
    bounds = 0;
    told = mark;
    /* Nobody else that lives is inside; a death inside is told. */
    assert(holder == me + 1);
    atomic {
        byte i;
        for (i : 0 .. THREADS - 1) {
            assert(i == me || !inside[i] || dead[i])
        };
        assert(!died_inside || told)
    };
    may_die();
    if
    :: told ->
        /* repaired: consistent() */
        atomic { mark = false; died_inside = false }
    :: else -> skip
    fi;
    may_die();
    /* release: exchange */
    atomic {
        assert(holder == me + 1);
        old_waiters = waiters;
        holder = 0;
        waiters = false;
        inside[me] = false
    };
    may_die();
    if
    :: old_waiters -> wake_one()
    :: else -> skip
    fi;
    goto again;

killed:
    /* A sleeper that dies is gone from the kernel's queue, with the wake that
     * was meant for it. */
    asleep[me] = false;
    goto done;

done:
    skip
}

init {
    atomic {
        byte i;
        for (i : 0 .. THREADS - 1) { run thread(i) }
    }
}
