/* SPDX-License-Identifier: Apache-2.0 */
/* The engine must pass the sound toy, and find every bug of the others. */
#include "../engine/crash.h"
#include "toy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
setup_empty(void)
{
    toy_open(2);
    toy_enter();
}

static void
put_recorded(unsigned item, bool wait)
{
    int status;

    crash_put_begin(item);
    status = toy_put(item, wait);
    if (status == 0)
        crash_put_done(item);
}

static void
get_recorded(bool wait)
{
    int item = toy_get(wait);

    CRASH_REQUIRE(item != TOY_BROKEN, CRASH_CORRUPTION, "a torn item");
    if (item >= 0)
        crash_got((unsigned)item);
}

static void
setup_full(void)
{
    setup_empty();
    put_recorded(1, false);
    put_recorded(2, false);
}

static void
drain(unsigned hands)
{
    int item;

    while ((item = toy_get(false)) != TOY_EMPTY) {
        CRASH_REQUIRE(item != TOY_BROKEN, CRASH_CORRUPTION,
                      "a torn item at the end");
        crash_got((unsigned)item);
    }
    crash_check_items(hands);
}

static void
enter(void)
{
    toy_enter();
}

static void
victim_put(void)
{
    put_recorded(10, false);
}

static void
victim_put_wait(void)
{
    put_recorded(10, true);
}

static void
victim_get(void)
{
    get_recorded(false);
}

static void
victim_get_wait(void)
{
    get_recorded(true);
}

static void
second_put(void)
{
    put_recorded(11, false);
}

static void
survivor_put(void)
{
    toy_enter();
    put_recorded(20, false);
}

/*
 * Puts only when the victim did not: a sleeper that missed the wake-up for a
 * committed item must come to it by itself.
 */
static void
survivor_put_if_none(void)
{
    toy_enter();
    if (toy_total() == 0)
        put_recorded(20, false);
}

static void
survivor_get(void)
{
    toy_enter();
    get_recorded(false);
}

static void
survivor_get_wait(void)
{
    toy_enter();
    get_recorded(true);
}

static void
survivor_put_wait(void)
{
    toy_enter();
    put_recorded(21, true);
}

static void
peer_get_sleeps(void)
{
    toy_enter();
    crash_ready();
    get_recorded(true);
}

static void
peer_put_sleeps(void)
{
    toy_enter();
    crash_ready();
    put_recorded(3, true);
}

/* Holds the lock until told. */
static void
peer_holds(void)
{
    toy_enter();
    toy_lock();
    crash_ready();
    crash_gate_wait(0);
    atomic_store(crash_word(0), 1);
    toy_unlock();
    crash_gate_open(1);
}

static bool
nudge_holder(unsigned n)
{
    if (n > 0)
        return false;
    crash_gate_open(0);
    crash_gate_wait(1);
    return true;
}

static bool
nudge_drain(unsigned n)
{
    if (n > 0)
        return false;
    get_recorded(false);
    return true;
}

static void
survivor_opens(void)
{
    crash_gate_open(0);
    toy_enter();
    put_recorded(20, false);
}

static void
check_put(void)
{
    drain(0);
}

/* A consumer that was killed may have taken one item with it. */
static void
check_get(void)
{
    drain(crash_completed() ? 0 : 1);
}

static void
check_holder(void)
{
    if (atomic_load(crash_word(0)) == 0)
        crash_fail(CRASH_CORRUPTION, "the holder was never told");
    drain(0);
}

/* A victim that passes a living holder's lock has stolen it. */
static void
victim_put_held(void)
{
    put_recorded(10, false);
    if (atomic_load(crash_word(0)) == 0)
        crash_fail(CRASH_CORRUPTION, "the lock was held, and put went on");
}

static const struct crash_covers put_covers[] = {
    CRASH_COVERS(toy_put),
    CRASH_COVERS(toy_lock),
    {NULL, NULL},
};

static const struct crash_covers get_covers[] = {
    CRASH_COVERS(toy_get),
    {NULL, NULL},
};

static const struct crash_scenario put_empty = {
    .operation = "toy_put",
    .state = "empty",
    .covers = put_covers,
    .setup = setup_empty,
    .prepare = enter,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

static const struct crash_scenario put_sleeper = {
    .operation = "toy_put",
    .state = "empty, a sleeping consumer",
    .covers = put_covers,
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = enter,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

static const struct crash_scenario put_full = {
    .operation = "toy_put",
    .state = "full, sleeps, is woken",
    .covers = put_covers,
    .setup = setup_full,
    .prepare = enter,
    .victim = victim_put_wait,
    .nudge = nudge_drain,
    .survivors = {survivor_get, survivor_put_wait},
    .check = check_put,
};

static const struct crash_scenario put_held = {
    .operation = "toy_put",
    .state = "a peer holds the lock",
    .covers = put_covers,
    .setup = setup_empty,
    .peers = {peer_holds},
    .prepare = enter,
    .victim = victim_put_held,
    .nudge = nudge_holder,
    .survivors = {survivor_opens, survivor_get_wait},
    .check = check_holder,
};

static const struct crash_scenario put_twice = {
    .operation = "toy_put",
    .state = "empty, a second victim puts",
    .covers = put_covers,
    .setup = setup_empty,
    .prepare = enter,
    .victim = victim_put,
    .second_prepare = enter,
    .second = second_put,
    .survivors = {survivor_put, survivor_get_wait},
    .check = check_put,
};

static const struct crash_scenario get_full = {
    .operation = "toy_get",
    .state = "full, a sleeping producer",
    .covers = get_covers,
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .woken = 1,
    .prepare = enter,
    .victim = victim_get,
    .survivors = {survivor_get, NULL},
    .check = check_get,
};

static const struct crash_scenario get_sleeps = {
    .operation = "toy_get",
    .state = "empty, sleeps for good",
    .blocks = true,
    .covers = get_covers,
    .setup = setup_empty,
    .prepare = enter,
    .victim = victim_get_wait,
    .survivors = {survivor_put, survivor_get_wait},
    .check = check_get,
};

static const struct crash_scenario get_alone = {
    .operation = "toy_get",
    .state = "full",
    .covers = get_covers,
    .setup = setup_full,
    .prepare = enter,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put_wait},
    .check = check_get,
};

static const struct crash_scenario *const scenarios[] = {
    &put_empty, &put_sleeper, &put_full,   &put_held,
    &put_twice, &get_full,    &get_sleeps, &get_alone,
};

enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

/* ---- a victim that goes its way once, and never again ---- */

static _Atomic unsigned *visits;

static void
setup_wayward(void)
{
    atomic_fetch_add(visits, 1);
    setup_empty();
}

static void
victim_spins(void)
{
    while (atomic_load(visits) > 1) {
    }
    put_recorded(10, false);
}

static void
victim_stays_asleep(void)
{
    while (atomic_load(visits) > 1)
        pause();
    put_recorded(10, false);
}

static const struct crash_scenario spins_later = {
    .operation = "toy_put",
    .state = "comes to no end but for the first time",
    .covers = put_covers,
    .setup = setup_wayward,
    .prepare = enter,
    .victim = victim_spins,
    .check = check_put,
};

static const struct crash_scenario sleeps_later = {
    .operation = "toy_put",
    .state = "sleeps for good but for the first time",
    .covers = put_covers,
    .setup = setup_wayward,
    .prepare = enter,
    .victim = victim_stays_asleep,
    .check = check_put,
};

/* ---- functions that claim to write nothing ---- */

static void
call_capacity(void)
{
    toy_capacity();
}

static void
call_peeks(void)
{
    toy_peeks();
}

static const struct crash_exempt honest[] = {
    {"toy_capacity", (void (*)(void))toy_capacity, setup_empty, call_capacity,
     "a load"},
};

static const struct crash_exempt liar[] = {
    {"toy_peeks", (void (*)(void))toy_peeks, setup_empty, call_peeks,
     "counts in shared memory"},
};

/* ---- the cases ---- */

struct expectation {
    enum toy_bug bug;
    const char *name;
    enum crash_kind kind;
    const char *scenario;
};

static const struct expectation expectations[] = {
    {TOY_COMMIT_FIRST, "commit before payload", CRASH_CORRUPTION,
     "toy_put/empty"},
    {TOY_WAIT_UNBOUNDED, "unbounded wait", CRASH_HANG, "a sleeping consumer"},
    {TOY_NO_DEAD_CHECK, "no dead-owner check", CRASH_HANG, "toy_get/full"},
    {TOY_NO_WAKE, "dropped wake", CRASH_HANG, "a sleeping consumer"},
    {TOY_RECOVERY_EMPTIES, "recovery throws items away", CRASH_LOSS,
     "toy_get/full"},
    {TOY_RECOVERY_REPEATS, "recovery puts again", CRASH_DUPLICATE,
     "toy_put/empty"},
    {TOY_STEALS, "the lock of the living is taken", CRASH_CORRUPTION,
     "a peer holds"},
    {TOY_SECOND_ONLY, "a second death is not seen", CRASH_HANG,
     "a second victim"},
};

static struct crash_options
defaults(void)
{
    struct crash_options options = {
        .only_point = -1, .deadline = 10, .stepping = 90, .jobs = 2};

    return options;
}

static int
run_sound(bool brute, unsigned sample)
{
    struct crash_options options = defaults();
    struct crash_totals totals = {0};
    unsigned kind;
    int bad = 0;

    toy_bug = TOY_SOUND;
    options.brute = brute;
    options.sample = sample;
    crash_run(&options, scenarios, SCENARIOS, &totals);
    for (kind = 0; kind < CRASH_KINDS; kind++)
        bad |= totals.found[kind] != 0;
    bad |= totals.errors != 0 || totals.missed != 0;
    bad |= totals.scenarios != SCENARIOS || totals.points < SCENARIOS * 5;
    printf("sound toy%s: %lu kill points, %lu missed: %s\n",
           brute ? ", every instruction" : "", totals.points, totals.missed,
           bad ? "FAILED" : "nothing found, as it should be");
    return bad;
}

static int
run_bug(const struct expectation *expectation)
{
    struct crash_options options = defaults();
    struct crash_totals totals = {0};

    toy_bug = expectation->bug;
    options.filter = expectation->scenario;
    options.stop_at_first = true;
    options.quiet = true;
    /* A hang must not cost ten seconds each time; sound waits last 20 ms. */
    options.deadline = 3;
    crash_run(&options, scenarios, SCENARIOS, &totals);
    toy_bug = TOY_SOUND;
    if (totals.found[expectation->kind] == 0) {
        printf("bug '%s': FAILED, not found\n", expectation->name);
        return 1;
    }
    printf("bug '%s': found\n", expectation->name);
    return 0;
}

static int
run_exempt(void)
{
    struct crash_options options = defaults();
    struct crash_totals good = {0}, bad = {0};

    crash_run_exempt(&options, honest, 1, &good);
    crash_run_exempt(&options, liar, 1, &bad);
    if (good.errors != 0 || bad.errors == 0) {
        printf("functions without kill points: FAILED\n");
        return 1;
    }
    printf("functions without kill points: the liar was found\n");
    return 0;
}

static void
run_wayward(const struct crash_scenario *scenario, long only_point,
            struct crash_totals *totals)
{
    struct crash_options options = defaults();

    options.only_point = only_point;
    options.stop_at_first = true;
    options.quiet = true;
    options.deadline = 5;
    options.stepping = 5;
    atomic_store(visits, 0);
    crash_run(&options, &scenario, 1, totals);
}

static int
run_unreachable(void)
{
    struct crash_totals spun = {0}, slept = {0};
    int bad = 0;

    visits = mmap(NULL, sizeof(*visits), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (visits == MAP_FAILED)
        return 1;
    run_wayward(&spins_later, -1, &spun);
    /* A point behind the place where it goes astray. */
    run_wayward(&sleeps_later, 60, &slept);
    bad |= spun.found[CRASH_HANG] == 0 || spun.missed != 0;
    bad |= slept.errors == 0 || slept.missed != 1;
    printf("a victim that comes to its point no more: %s\n",
           bad ? "FAILED, not found" : "found");
    return bad;
}

int
main(int argc, char **argv)
{
    int bad = 0;
    size_t i;

    if (argc == 2 && strcmp(argv[1], "--brute") == 0)
        return run_sound(true, 0);
    if (argc > 1)
        return crash_main(argc, argv, scenarios, SCENARIOS, honest, 1);
    bad |= run_sound(false, 0);
    bad |= run_exempt();
    bad |= run_unreachable();
    for (i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++)
        bad |= run_bug(&expectations[i]);
    return bad;
}
