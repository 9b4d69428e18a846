/* SPDX-License-Identifier: Apache-2.0 */
/* The event: set or not set, and nobody misses a set that returned. */
#include "common.h"
#include "crowd.h"

#include <troupe/event.h>

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

struct shared {
    troupe_event event;
};

static struct shared *shared;

enum { WORD_STATUS, WORD_SEEN };

/* The event has its memory, and the table of its pollers a slab, before the
 * counting. */
static void
setup(void)
{
    limited_heap();
    shared = family_memory(sizeof(*shared));
    counted_heap();
}

static void
setup_set(void)
{
    setup();
    CRASH_REQUIRE(troupe_event_set(&shared->event) == 0, CRASH_CORRUPTION,
                  "set");
}

static void
wait_for_it(void)
{
    int status = troupe_event_wait(&shared->event, PATIENCE);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "wait: %s",
                  troupe_error_name(status));
    atomic_fetch_add(crash_word(WORD_SEEN), 1);
}

static void
set_it(void)
{
    int status = troupe_event_set(&shared->event);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "set: %s",
                  troupe_error_name(status));
}

/* Sets only what is not set: a sleeper that was not woken must see by itself.
 * A set that has returned is there. */
static void
set_if_not_set(void)
{
    if (troupe_event_is_set(&shared->event))
        return;
    CRASH_REQUIRE(!crash_completed() && !crash_second_completed(), CRASH_LOSS,
                  "a set that returned is lost");
    set_it();
}

static void
peer_sleeps(void)
{
    join_family();
    crash_ready();
    wait_for_it();
}

/* ---- set ---- */

static void
victim_set(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_event_set(&shared->event));
}

/* The event is set, and can be used again; with it all memory goes. */
static void
check_set(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) != 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
    CRASH_REQUIRE(troupe_event_is_set(&shared->event), CRASH_LOSS,
                  "the event is not set");
    wait_for_it();
    CRASH_REQUIRE(troupe_event_clear(&shared->event) == 0, CRASH_CORRUPTION,
                  "clear");
    CRASH_REQUIRE(troupe_event_wait(&shared->event, TROUPE_NOW) == -ETIMEDOUT,
                  CRASH_CORRUPTION, "a cleared event is set");
    /* The dead first: what they leave behind is the event's. */
    CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                  "no figures about the heap");
    troupe_event_fini(&shared->event);
    counted_check(0);
}

SCENARIO(set_alone) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "not set",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_set,
    .survivors = {set_if_not_set, wait_for_it},
    .check = check_set,
};

SCENARIO(set_stranger) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "a sleeping peer, the setter has not joined",
    .setup = setup,
    .peers = {peer_sleeps},
    .woken = 1,
    .victim = victim_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

SCENARIO(set_sleepers) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "three sleeping peers",
    .setup = setup,
    .peers = {peer_sleeps, peer_sleeps, peer_sleeps},
    .woken = 7,
    .prepare = join_family,
    .victim = victim_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

static void
second_set(void)
{
    (void)troupe_event_set(&shared->event);
}

SCENARIO(set_two) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "a sleeping peer, a second victim sets",
    .setup = setup,
    .peers = {peer_sleeps},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_set,
    .second_prepare = join_family,
    .second = second_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

SCENARIO(set_again) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "set already",
    .setup = setup_set,
    .prepare = join_family,
    .victim = victim_set,
    .survivors = {wait_for_it, NULL},
    .check = check_set,
};

/* Sleeps in epoll_wait, without timeout. */
static void
peer_polls(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = -1, status;

    join_family();
    status = troupe_event_fileno(&shared->event, &fd);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "fileno: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(epoll >= 0 &&
                      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0,
                  CRASH_CORRUPTION, "epoll: %d", errno);
    crash_ready();
    while (troupe_event_wait(&shared->event, TROUPE_NOW) != 0)
        (void)epoll_wait(epoll, &event, 1, -1);
    atomic_fetch_add(crash_word(WORD_SEEN), 1);
}

SCENARIO(set_poller) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "an epoll_wait sleeper",
    .setup = setup,
    .peers = {peer_polls},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

/* Nobody watches the setter: its poller looks within a second. */
SCENARIO(set_poller_stranger) = {
    .function = {FUNCTION(troupe_event_set)},
    .state = "an epoll_wait sleeper, the setter has not joined",
    .setup = setup,
    .peers = {peer_polls},
    .woken = 1,
    .victim = victim_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

static void
victim_fileno(void)
{
    int fd;

    atomic_store(crash_word(WORD_STATUS),
                 troupe_event_fileno(&shared->event, &fd));
}

/* One who polls is dead; the others are told all the same. */
SCENARIO(fileno_first) = {
    .function = {FUNCTION(troupe_event_fileno)},
    .state = "an epoll_wait sleeper",
    .setup = setup,
    .peers = {peer_polls},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_fileno,
    .survivors = {set_it, NULL},
    .check = check_set,
};

/* It begins readable, whatever the event is. */
static void
victim_fileno_readable(void)
{
    struct pollfd wait = {.events = POLLIN};
    int status = troupe_event_fileno(&shared->event, &wait.fd);

    if (status == 0 && poll(&wait, 1, 0) != 1)
        status = -EPROTO;
    atomic_store(crash_word(WORD_STATUS), status);
}

/* Who polls next finds the table that the dead one made, or makes it. */
SCENARIO(fileno_nobody) = {
    .function = {FUNCTION(troupe_event_fileno)},
    .state = "not set, nobody polls yet",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_fileno_readable,
    .survivors = {peer_polls, set_it},
    .check = check_set,
};

SCENARIO(fileno_set) = {
    .function = {FUNCTION(troupe_event_fileno)},
    .state = "set, nobody polls yet",
    .setup = setup_set,
    .prepare = join_family,
    .victim = victim_fileno_readable,
    .survivors = {peer_polls, NULL},
    .check = check_set,
};

/* As many as a table has cells. */
enum { POLLERS = 36 };

static void
polls(void)
{
    int fd;

    CRASH_REQUIRE(troupe_event_fileno(&shared->event, &fd) == 0,
                  CRASH_CORRUPTION, "fileno");
}

static void
setup_crowd(void)
{
    setup();
    crowd_begin(POLLERS, polls);
}

/* The descriptor that it has already spares it to watch the crowd now. */
static void
prepare_polls_another(void)
{
    static troupe_event own;
    int fd;

    CRASH_REQUIRE(troupe_event_fileno(&own, &fd) == 0, CRASH_CORRUPTION,
                  "fileno");
}

static void
check_crowd(void)
{
    crowd_end();
    check_set();
}

SCENARIO(fileno_crowd) = {
    .function = {FUNCTION(troupe_event_fileno)},
    .state = "not set, the table of the pollers is full",
    .setup = setup_crowd,
    .prepare = prepare_polls_another,
    .victim = victim_fileno_readable,
    .survivors = {peer_polls, set_it},
    .check = check_crowd,
};

static void
second_fileno(void)
{
    int fd, status = troupe_event_fileno(&shared->event, &fd);

    if (status != 0)
        crash_fail(CRASH_CORRUPTION, "the second victim's fileno: %s",
                   troupe_error_name(status));
}

SCENARIO(fileno_two) = {
    .function = {FUNCTION(troupe_event_fileno)},
    .state = "nobody polls yet, a second victim does",
    .setup = setup,
    .prepare = prepare_polls_another,
    .victim = victim_fileno,
    .second_prepare = prepare_polls_another,
    .second = second_fileno,
    .survivors = {peer_polls, set_it},
    .check = check_set,
};

/* ---- clear ---- */

static void
victim_clear(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_event_clear(&shared->event));
}

static void
check_clear(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_SEEN)) == 0 &&
        troupe_event_is_set(&shared->event))
        crash_fail(CRASH_CORRUPTION, "the clear returned and had no effect");
    set_it();
    check_set();
}

SCENARIO(clear_set) = {
    .function = {FUNCTION(troupe_event_clear)},
    .state = "set",
    .setup = setup_set,
    .prepare = join_family,
    .victim = victim_clear,
    .survivors = {NULL, NULL},
    .check = check_clear,
};

SCENARIO(clear_sleeper) = {
    .function = {FUNCTION(troupe_event_clear)},
    .state = "not set, a sleeping peer",
    .setup = setup,
    .peers = {peer_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_clear,
    .survivors = {set_it, NULL},
    .check = check_set,
};

SCENARIO(clear_poller) = {
    .function = {FUNCTION(troupe_event_clear)},
    .state = "not set, an epoll_wait sleeper",
    .setup = setup,
    .peers = {peer_polls},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_clear,
    .survivors = {set_it, NULL},
    .check = check_set,
};

enum { GATE_CLEARED, GATE_ENDED };

/* Has been rung when the victim clears what it was rung for. */
static void
peer_polls_late(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = -1;

    CRASH_REQUIRE(troupe_event_fileno(&shared->event, &fd) == 0 &&
                      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0,
                  CRASH_CORRUPTION, "fileno: %d", errno);
    /* What is readable from the beginning is forgotten. */
    (void)!troupe_event_wait(&shared->event, TROUPE_NOW);
    crash_ready();
    crash_gate_wait(GATE_CLEARED);
    while (troupe_event_wait(&shared->event, TROUPE_NOW) != 0)
        (void)epoll_wait(epoll, &event, 1, -1);
    atomic_fetch_add(crash_word(WORD_SEEN), 1);
}

static void
survivor_sets_cleared(void)
{
    crash_gate_open(GATE_CLEARED);
    set_it();
}

static void
prepare_set(void)
{
    join_family();
    set_it();
}

SCENARIO(clear_rung) = {
    .function = {FUNCTION(troupe_event_clear)},
    .state = "set, a poller has been rung",
    .setup = setup,
    .peers = {peer_polls_late},
    .untimed = 1,
    .prepare = prepare_set,
    .victim = victim_clear,
    .survivors = {survivor_sets_cleared, NULL},
    .check = check_set,
};

SCENARIO(clear_two) = {
    .function = {FUNCTION(troupe_event_clear)},
    .state = "not set, a sleeping peer, a second victim sets",
    .setup = setup,
    .peers = {peer_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_clear,
    .second_prepare = join_family,
    .second = second_set,
    .survivors = {set_it, NULL},
    .check = check_set,
};

/* ---- wait ---- */

static void
victim_wait(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 troupe_event_wait(&shared->event, TROUPE_FOREVER));
}

static bool
nudge_set(unsigned n)
{
    if (n > 0)
        return false;
    set_it();
    return true;
}

/* Cleared at once: whoever waited has still been let go. */
static bool
nudge_pulse(unsigned n)
{
    if (n > 0)
        return false;
    set_it();
    (void)troupe_event_clear(&shared->event);
    return true;
}

SCENARIO(wait_set) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "set, the first call of its process",
    .setup = setup_set,
    .victim = victim_wait,
    .survivors = {wait_for_it, NULL},
    .check = check_set,
};

SCENARIO(wait_sleeps) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, sleeps, is set",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_wait,
    .nudge = nudge_set,
    .survivors = {set_it, wait_for_it},
    .check = check_set,
};

SCENARIO(wait_pulse) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, sleeps, is set and cleared",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_wait,
    .nudge = nudge_pulse,
    .survivors = {set_it, wait_for_it},
    .check = check_set,
};

SCENARIO(wait_cold) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, the first call of its process",
    .setup = setup,
    .victim = victim_wait,
    .nudge = nudge_set,
    .survivors = {set_it, wait_for_it},
    .check = check_set,
};

SCENARIO(wait_beside) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, another sleeps too",
    .setup = setup,
    .peers = {peer_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_wait,
    .nudge = nudge_set,
    .survivors = {set_if_not_set, NULL},
    .check = check_set,
};

/* Its time passes, and whoever sleeps beside it is woken all the same. */
static void
victim_wait_in_time(void)
{
    int status = troupe_event_wait(&shared->event, troupe_after(0.2));

    atomic_store(crash_word(WORD_STATUS), status == -ETIMEDOUT ? 0 : -EPROTO);
}

SCENARIO(wait_in_time) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, its time passes beside a sleeper",
    .setup = setup,
    .peers = {peer_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_wait_in_time,
    .nudge = crash_sleeps_end,
    .survivors = {set_it, NULL},
    .check = check_set,
};

SCENARIO(wait_two) = {
    .function = {FUNCTION(troupe_event_wait)},
    .state = "not set, sleeps, is set, a second victim sets",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_wait,
    .nudge = nudge_set,
    .second_prepare = join_family,
    .second = second_set,
    .survivors = {set_if_not_set, wait_for_it},
    .check = check_set,
};

/* ---- the rest ---- */

static void
renew(void)
{
    if (crash_completed())
        CRASH_REQUIRE(!troupe_event_is_set(&shared->event), CRASH_CORRUPTION,
                      "a new event is set");
    CRASH_REQUIRE(troupe_event_init(&shared->event) == 0 &&
                      !troupe_event_is_set(&shared->event),
                  CRASH_CORRUPTION, "init");
    set_it();
}

static void
victim_init(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_event_init(&shared->event));
}

SCENARIO(init_new) = {
    .function = {FUNCTION(troupe_event_init)},
    .state = "nobody uses it yet",
    .setup = setup_set,
    .prepare = join_family,
    .victim = victim_init,
    .survivors = {renew, NULL},
    .check = check_set,
};

static void
victim_fini(void)
{
    troupe_event_fini(&shared->event);
}

SCENARIO(fini_old) = {
    .function = {FUNCTION(troupe_event_fini)},
    .state = "nobody uses it any more",
    .setup = setup_set,
    .prepare = join_family,
    .victim = victim_fini,
    .survivors = {renew, NULL},
    .check = check_set,
};

/* Its descriptor goes when it asks for another. */
static void
peer_has_polled(void)
{
    polls();
    crash_ready();
    crash_gate_wait(GATE_ENDED);
    prepare_polls_another();
}

/* To end it once more does no harm. */
static void
renew_polled(void)
{
    if (!crash_completed())
        troupe_event_fini(&shared->event);
    renew();
    crash_gate_open(GATE_ENDED);
}

SCENARIO(fini_polled) = {
    .function = {FUNCTION(troupe_event_fini)},
    .state = "the victim and another have polled",
    .setup = setup_set,
    .peers = {peer_has_polled},
    .prepare = polls,
    .victim = victim_fini,
    .survivors = {renew_polled, NULL},
    .check = check_set,
};

static void
call_is_set(void)
{
    (void)troupe_event_is_set(&shared->event);
}

EXEMPT(is_set_reads) = {
    "troupe_event_is_set",
    (void (*)(void))troupe_event_is_set,
    setup_set,
    call_is_set,
    "loads one word",
};
