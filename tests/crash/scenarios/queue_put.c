/* SPDX-License-Identifier: Apache-2.0 */
/* Put: an item is there whole or not at all, and whoever waits for it learns of
 * it. */
#include "queue_common.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void
prepare_item(void)
{
    (void)item_fill(&ready, VICTIM);
}

static void
prepare_put(void)
{
    join_family();
    prepare_item();
}

static void
victim_put(void)
{
    atomic_store(crash_word(WORD_STATUS), put_ready(TROUPE_FOREVER));
}

SCENARIO(put_empty) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty",
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_cold) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, the first call of its process",
    .setup = setup_empty,
    .prepare = prepare_item,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_sleeper) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, a sleeping consumer",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_sleepers) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, two sleeping consumers",
    .setup = setup_empty,
    .peers = {peer_get_sleeps, peer_get_sleeps},
    .untimed = 3,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_two, NULL},
    .check = check_put,
};

SCENARIO(put_poller) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_poller_sleeper) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, an epoll_wait sleeper and another",
    .setup = setup_empty,
    .peers = {peer_get_polls, peer_get_sleeps},
    .untimed = 3,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_two, NULL},
    .check = check_put,
};

static bool
nudge_get(unsigned n)
{
    if (n > 0)
        return false;
    must_get();
    return true;
}

SCENARIO(put_full) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, sleeps, a peer gets",
    .setup = setup_full,
    .prepare = prepare_put,
    .victim = victim_put,
    .nudge = nudge_get,
    .survivors = {survivor_try, survivor_get},
    .check = check_put,
};

static void
victim_put_try(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 put_ready(TROUPE_NOW) == -EAGAIN ? 0 : -EINVAL);
}

/* Killed with a wake-up for room: the other sleeper must not miss it. */
SCENARIO(put_full_beside) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, sleeps beside another, a peer gets",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .untimed = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .nudge = nudge_get_two,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_put,
};

/* Its time passes, and whoever sleeps beside it is woken all the same. */
static void
victim_put_in_time(void)
{
    int status = put_ready(troupe_after(0.2));

    atomic_store(crash_word(WORD_STATUS), status == -ETIMEDOUT ? 0 : -EPROTO);
}

SCENARIO(put_full_in_time) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, its time passes beside a sleeper",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .untimed = 1,
    .prepare = prepare_put,
    .victim = victim_put_in_time,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_get, NULL},
    .check = check_put,
};

static void
victim_put_gone(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 put_ready(TROUPE_FOREVER) == -EPIPE ? 0 : -EINVAL);
}

/* ---- full by bytes ---- */

/* An item that takes a cell more than each of the three that fill the queue,
 * and one that does not. */
enum {
    LONGER = VICTIM + 13,
    SHORT = 16,
    GATE_SHORT = 1,
    WORD_SHORT = WORD_OWN
};

static void
setup_bytes(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 9 * 16));
    must_put(FIRST);
    must_put(FIRST + 1);
    must_put(FIRST + 2);
}

static void
prepare_put_longer(void)
{
    join_family();
    (void)item_fill(&ready, LONGER);
}

/* Falls asleep behind the victim. */
static void
peer_put_short(void)
{
    join_family();
    crash_ready();
    crash_gate_wait(GATE_SHORT);
    atomic_store(crash_word(WORD_SHORT), 1);
    must_put(SHORT);
    atomic_store(crash_word(WORD_SHORT), 2);
}

/*
 * The victim is woken for room that is too little for it and enough for the
 * peer, who sleeps behind it: nothing else wakes that. Then there is more.
 */
static bool
nudge_bytes(unsigned n)
{
    static unsigned gets;

    if (gets == 3)
        return false;
    if (n == 0)
        crash_gate_open(GATE_SHORT);
    while (gets == 0
               ? atomic_load(crash_word(WORD_SHORT)) == 0 || !crash_asleep(0)
               : atomic_load(crash_word(WORD_SHORT)) != 2) {
        if (crash_is_control())
            return true;
        sched_yield();
    }
    gets++;
    must_get();
    return true;
}

static void
survivor_makes_room(void)
{
    crash_gate_open(GATE_SHORT);
    survivor_gets_two();
}

SCENARIO(put_bytes) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full by bytes, woken for what serves another",
    .setup = setup_bytes,
    .peers = {peer_put_short},
    .untimed = 1,
    .prepare = prepare_put_longer,
    .victim = victim_put,
    .nudge = nudge_bytes,
    .survivors = {survivor_makes_room, NULL},
    .check = check_put,
};

/* Room for two large items and not for three, though one would fit by its
 * record. */
static void
setup_bytes_large(void)
{
    atomic_store(crash_word(WORD_LARGE), 1);
    counted_class(LARGE + 80);
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 16384,
                        .small_bytes = 8192));
    must_put(FIRST);
    must_put(FIRST + 1);
}

SCENARIO(put_bytes_large) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full by bytes, a large item sleeps, a peer gets",
    .setup = setup_bytes_large,
    .prepare = prepare_put,
    .victim = victim_put,
    .nudge = nudge_get,
    .survivors = {survivor_try, survivor_get},
    .check = check_put,
};

/* ---- what refuses a put ---- */

static void
prepare_put_no_heap(void)
{
    prepare_put();
    fill_heap(LARGE);
}

static void
victim_put_no_heap(void)
{
    int status = put_ready(TROUPE_FOREVER);

    atomic_store(crash_word(WORD_STATUS), status == -ENOMEM ? 0 : -EPROTO);
}

static void
survivor_put_no_heap(void)
{
    int status = put(SURVIVOR, TROUPE_FOREVER);

    CRASH_REQUIRE(status == -ENOMEM, CRASH_CORRUPTION,
                  "a large item without memory: %s", troupe_error_name(status));
}

SCENARIO(put_no_heap) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a large item, the heap is full",
    .setup = setup_large,
    .prepare = prepare_put_no_heap,
    .victim = victim_put_no_heap,
    .survivors = {survivor_put_no_heap, NULL},
    .check = check_put_filled,
};

static void
victim_put_refused(void)
{
    int status = put_ready(TROUPE_FOREVER);

    atomic_store(crash_word(WORD_STATUS), status == -ESHUTDOWN ? 0 : -EPROTO);
}

static void
setup_shut_down(void)
{
    setup_large();
    CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                  "shutdown");
}

SCENARIO(put_shut_down) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a large item, shut down",
    .setup = setup_shut_down,
    .prepare = prepare_put,
    .victim = victim_put_refused,
    .check = check_put,
};

/* It sleeps beside another, and both learn of it. */
SCENARIO(put_sleeps_shut_down) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, sleeps beside another, is shut down",
    .setup = setup_full,
    .peers = {peer_put_refused},
    .untimed = 1,
    .prepare = prepare_put,
    .victim = victim_put_refused,
    .nudge = nudge_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

/* Peer 0 is the only consumer, and does not get. */
SCENARIO(put_sleeps_consumer_dies) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, sleeps beside another, the last consumer dies",
    .setup = setup_full,
    .peers = {peer_consumes_nothing, peer_put_until_end},
    .prepare = prepare_put,
    .victim = victim_put_gone,
    .nudge = nudge_party_dies,
    .survivors = {survivor_ends_party, NULL},
    .check = check_put,
};

SCENARIO(put_full_try) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "full, tries once",
    .setup = setup_full,
    .prepare = prepare_put,
    .victim = victim_put_try,
    .survivors = {survivor_try, survivor_get},
    .check = check_put,
};

SCENARIO(put_large) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a large item",
    .setup = setup_large,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_single) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a single producer, a sleeping consumer",
    .setup = setup_single,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_single_poller) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a single producer, an epoll_wait sleeper",
    .setup = setup_single,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

/* The other side's: two at one side at a time are not allowed there. */
SCENARIO(put_single_get) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "a single producer, a second victim gets",
    .setup = setup_single,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put_get, NULL},
    .check = check_put_get,
};

/* The only declared consumer has died, and nobody has looked. */
static void
setup_consumer_gone(void)
{
    pid_t pid;

    setup_empty();
    pid = fork();
    CRASH_REQUIRE(pid >= 0, CRASH_CORRUPTION, "fork: %d", errno);
    if (pid == 0) {
        CRASH_REQUIRE(troupe_queue_attach_consumer(queue) == 0,
                      CRASH_CORRUPTION, "attach");
        (void)kill(getpid(), SIGKILL);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void
survivor_put_gone(void)
{
    int status = put(SURVIVOR, TROUPE_FOREVER);

    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION,
                  "a put with no consumer left: %s", troupe_error_name(status));
}

SCENARIO(put_consumer_gone) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, the last consumer has died",
    .setup = setup_consumer_gone,
    .prepare = prepare_put,
    .victim = victim_put_gone,
    .survivors = {survivor_put_gone, NULL},
    .check = check_put,
};

SCENARIO(put_put) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, a second victim puts",
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_get) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "empty, a second victim gets",
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put, survivor_put_get},
    .check = check_put_get,
};

SCENARIO(put_poller_two) = {
    .function = {FUNCTION(troupe_queue_put)},
    .state = "an epoll_wait sleeper, a second victim puts",
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* ---- many at once ---- */

static struct item many[MANY];
static unsigned batch = MANY;

static void
prepare_many(void)
{
    unsigned i;

    join_family();
    for (i = 0; i < MANY; i++)
        (void)item_fill(&many[i], VICTIM + i);
}

static void
put_many_until(troupe_deadline deadline)
{
    struct iovec items[MANY];
    size_t put_count = 0;
    unsigned i;
    int status;

    for (i = 0; i < batch; i++) {
        items[i].iov_base = &many[i];
        items[i].iov_len = item_size(VICTIM + i);
        crash_put_begin(VICTIM + i);
    }
    status = troupe_queue_put_many(queue, items, batch, &put_count, deadline);
    for (i = 0; i < put_count; i++)
        crash_put_done(VICTIM + i);
    atomic_store(crash_word(WORD_STATUS), status);
}

static void
victim_put_many(void)
{
    put_many_until(TROUPE_NOW);
}

static void
victim_put_many_sleeps(void)
{
    put_many_until(TROUPE_FOREVER);
}

SCENARIO(put_many) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "empty",
    .setup = setup_empty,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* Each step of their copies is a point. */
static void
prepare_two_large(void)
{
    batch = 2;
    prepare_many();
}

SCENARIO(put_many_large) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "two large items, a sleeping consumer",
    .setup = setup_large,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_two_large,
    .victim = victim_put_many,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_many_sleepers) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "empty, two sleeping consumers",
    .setup = setup_empty,
    .peers = {peer_get_sleeps, peer_get_sleeps},
    .woken = 3,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put_two, NULL},
    .check = check_put,
};

SCENARIO(put_many_poller) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "empty, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_many_short) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "room for two of four",
    .setup = setup_two,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_try, survivor_put_get},
    .check = check_put,
};

SCENARIO(put_many_full) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "full, sleeps, a peer gets",
    .setup = setup_full,
    .prepare = prepare_many,
    .victim = victim_put_many_sleeps,
    .nudge = nudge_get_many,
    .survivors = {survivor_try, survivor_get},
    .check = check_put,
};

SCENARIO(put_many_get) = {
    .function = {FUNCTION(troupe_queue_put_many)},
    .state = "empty, a second victim gets",
    .setup = setup_empty,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put, survivor_put_get},
    .check = check_put_get,
};
