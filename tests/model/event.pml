/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event (sync/event.c): waiters that must return when the event was set at
 * any moment of their wait, a setter that sets and clears, deaths at any step.
 *
 * Asserted: a waiter returns only when there was a set during its wait; one
 * that is still waiting when everybody else has ended has missed none (`sets`
 * when it began equals `sets` now).
 *
 * Planted faults: UNBOUNDED (a setter killed before its wake leaves sleepers for
 * good), NO_COUNT (a waiter looks at the bit alone: a set that is cleared at
 * once is missed), LATE_BIT (the waiter announces itself without looking again:
 * found with UNBOUNDED_LIVE, where only deaths let bounds pass).
 */
#ifndef KILLS
#define KILLS 1
#endif
#define WAITERS 2
#ifndef SETS
#define SETS 2
#endif

bool set = false;      /* one word in the program: set, sleepers, count */
bool sleepers = false;
byte count = 0;

byte sets = 0;         /* ghost: sets that took effect */
bool asleep[WAITERS];
bool woken[WAITERS];
byte kills = KILLS;
byte setters = 2;      /* that have not ended */

inline may_die() {
    if
    :: atomic { kills > 0 -> kills-- } -> goto killed
    :: true -> skip
    fi
}

inline wake_all() {
    atomic {
        byte w;
        for (w : 0 .. WAITERS - 1) {
            if
            :: asleep[w] -> woken[w] = true
            :: else -> skip
            fi
        }
    }
}

proctype setter() {
    byte i = 0;
    bool wake = false;

    do
    :: i == SETS -> break
    :: else ->
        may_die();
        atomic {
            wake = sleepers;
            set = true;
            sleepers = false;
            count++;
            sets++
        };
        may_die();
        if
        :: wake -> wake_all()
        :: else -> skip
        fi;
        may_die();
        atomic { set = false }; /* clear */
        i++
    od;
killed:
    setters--
}

proctype waiter(byte me) {
    bool seen_set = false;
    bool seen_sleepers = false;
    byte seen_count = 0;
    byte begun_count = 0;
    byte begun_sets = 0;
    byte bounds = 0;

    /* the wait begins with one look */
    atomic {
        seen_set = set;
        seen_sleepers = sleepers;
        seen_count = count;
        begun_count = count;
        begun_sets = sets - (set -> 1 : 0)
    };
    do
    :: true ->
        if
#ifdef NO_COUNT
        :: seen_set -> break
#else
        :: seen_set || seen_count != begun_count -> break
#endif
        :: else -> skip
        fi;
#ifdef LATE_BIT
        may_die();
        atomic { asleep[me] = true; woken[me] = false };
        sleepers = true;
#else
        if
        :: !seen_sleepers ->
            may_die();
            atomic {
                if
                :: set == seen_set && count == seen_count && !sleepers ->
                    sleepers = true;
                    seen_sleepers = true
                :: else ->
                    seen_set = set;
                    seen_sleepers = sleepers;
                    seen_count = count;
                    goto next
                fi
            }
        :: else -> skip
        fi;
        may_die();
        /* futex_wait: only while the low half is as seen */
        atomic {
            if
            :: set == seen_set && count == seen_count && sleepers ->
                asleep[me] = true;
                woken[me] = false
            :: else -> skip
            fi
        };
#endif
        if
        :: !asleep[me] -> skip
        :: asleep[me] && woken[me] -> skip
#ifndef UNBOUNDED
        /* Time passes when nothing else can happen; then what is new must be
         * seen. (Without news the model may end, see below.) */
#ifdef UNBOUNDED_LIVE
        :: asleep[me] && sets != begun_sets && kills < KILLS && timeout ->
#else
        :: asleep[me] && sets != begun_sets && timeout ->
#endif
            bounds++;
            assert(bounds <= 1)
#endif
        /* nobody will ever set it again, and there is no news: a fair end */
        :: asleep[me] && !woken[me] && setters == 0 && sets == begun_sets ->
            goto ended
        fi;
        asleep[me] = false;
        atomic {
            seen_set = set;
            seen_sleepers = sleepers;
            seen_count = count
        };
next:
        skip
    od;
    assert(sets != begun_sets);
    goto ended;
killed:
    asleep[me] = false;
ended:
    skip
}

init {
    atomic {
        run setter();
        run setter();
        run waiter(0);
        run waiter(1)
    }
}
