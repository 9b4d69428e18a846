/* SPDX-License-Identifier: Apache-2.0 */
/* Get: the dead take at most what they had in hand, in order. */
#include "queue_common.h"

#include <errno.h>

static void
victim_get(void)
{
    atomic_store(crash_word(WORD_STATUS), get_ready(TROUPE_FOREVER));
}

SCENARIO(get_three) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

SCENARIO(get_cold) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items, the first call of its process",
    .setup = setup_three,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

SCENARIO(get_full) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get,
};

SCENARIO(get_poller) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get,
};

/* Room for both producers, of which the victim has made some. */
static void
survivor_get_for_two(void)
{
    survivor_get_if_full();
    must_get();
}

SCENARIO(get_full_two) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "full, two sleeping producers",
    .setup = setup_full,
    .peers = {peer_put_sleeps, peer_put_sleeps},
    .untimed = 3,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get_for_two, NULL},
    .check = check_get,
};

static bool
nudge_put(unsigned n)
{
    if (n > 0)
        return false;
    must_put(FIRST);
    return true;
}

SCENARIO(get_sleeps) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, sleeps, a peer puts",
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_get,
    .nudge = nudge_put,
    .survivors = {survivor_put, NULL},
    .check = check_get,
};

/* Woken for an item and killed: the other sleeper must not miss it. */
SCENARIO(get_sleeps_beside) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, sleeps beside another, a peer puts",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_get,
    .nudge = nudge_put_two,
    .survivors = {survivor_put, NULL},
    .check = check_get,
};

/* Its time passes, and whoever sleeps beside it is woken all the same. */
static void
victim_get_in_time(void)
{
    int status = get_ready(troupe_after(0.2));

    atomic_store(crash_word(WORD_STATUS), status == -ETIMEDOUT ? 0 : -EPROTO);
}

SCENARIO(get_in_time) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, its time passes beside a sleeper",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_get_in_time,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

static void
victim_get_end(void)
{
    int status = get_ready(TROUPE_FOREVER);

    atomic_store(crash_word(WORD_STATUS), status == -EPIPE ? 0 : -EPROTO);
}

SCENARIO(get_sleeps_shut_down) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, sleeps beside another, is shut down",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_get_end,
    .nudge = nudge_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

/* Peer 0 is the only producer, and does not put. */
SCENARIO(get_sleeps_producer_dies) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, sleeps beside another, the last producer dies",
    .setup = setup_empty,
    .peers = {peer_produces_nothing, peer_get_until_end},
    .prepare = join_family,
    .victim = victim_get_end,
    .nudge = nudge_party_dies,
    .survivors = {survivor_ends_party, NULL},
    .check = check_put,
};

/* A single producer's end is in the word of its commit. */
SCENARIO(get_single_shut_down) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, single at both sides, sleeps, is shut down",
    .setup = setup_single,
    .prepare = join_family,
    .victim = victim_get_end,
    .nudge = nudge_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

static void
prepare_no_heap(void)
{
    join_family();
    fill_heap(LARGE);
}

/* What fills the heap goes last: then the slab that stays is the one that did
 * when the blocks were counted. */
static void
check_get_filled(void)
{
    settle();
    while (get(TROUPE_NOW) >= 0) {
    }
    empty_heap();
    check_get();
}

SCENARIO(get_no_heap) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three large items, the heap is full",
    .setup = setup_three_large,
    .prepare = prepare_no_heap,
    .victim = victim_get,
    .survivors = {survivor_get, NULL},
    .check = check_get_filled,
};

SCENARIO(get_large) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three large items",
    .setup = setup_three_large,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

SCENARIO(get_single) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items, a single consumer",
    .setup = setup_single_three,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get, NULL},
    .check = check_get,
};

static void
victim_get_try(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 get_ready(TROUPE_NOW) == -EAGAIN ? 0 : -EINVAL);
}

SCENARIO(get_empty_try) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "empty, tries once",
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_get_try,
    .survivors = {survivor_put, survivor_get},
    .check = check_get,
};

SCENARIO(get_get) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items, a second victim gets",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put, survivor_get},
    .check = check_get_get,
};

/* The other side's: two at one side at a time are not allowed there. */
SCENARIO(get_single_put) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items, a single consumer, a second victim puts",
    .setup = setup_single_three,
    .prepare = join_family,
    .victim = victim_get,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put_get, NULL},
    .check = check_get,
};

SCENARIO(get_put) = {
    .function = {FUNCTION(troupe_queue_get)},
    .state = "three items, a second victim puts",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_get,
};

/* ---- many at once ---- */

static struct item many[MANY];

static void
victim_get_many(void)
{
    struct iovec items[MANY];
    size_t got_count = 0, i;
    int status;

    for (i = 0; i < MANY; i++) {
        items[i].iov_base = &many[i];
        items[i].iov_len = sizeof(many[i]);
    }
    status =
        troupe_queue_get_many(queue, items, MANY, &got_count, TROUPE_FOREVER);
    for (i = 0; i < got_count; i++)
        looked_at(&many[i], items[i].iov_len);
    atomic_store(crash_word(WORD_STATUS), status);
}

/* All of the batch is in the hands of who takes it. */
static void
check_get_many(void)
{
    check(crash_completed() ? 0 : 3);
}

SCENARIO(get_many) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "three items",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_put_get, survivor_put},
    .check = check_get_many,
};

SCENARIO(get_many_large) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "three large items",
    .setup = setup_three_large,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_put_get, survivor_put},
    .check = check_get_many,
};

/* It may take what both put then. */
static void
check_get_many_four(void)
{
    check(crash_completed() ? 0 : 4);
}

SCENARIO(get_many_sleepers) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "full, two sleeping producers",
    .setup = setup_full,
    .peers = {peer_put_sleeps, peer_put_sleeps},
    .woken = 3,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_gets_two, NULL},
    .check = check_get_many_four,
};

SCENARIO(get_many_sleeper) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get_many,
};

SCENARIO(get_many_poller) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get_many,
};

SCENARIO(get_many_sleeps) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "empty, sleeps beside another, a peer puts",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_get_many,
    .nudge = nudge_put_two,
    .survivors = {survivor_put, NULL},
    .check = check_get_many,
};

/* Three there are, so no more is lost with a second victim. */
static void
check_get_many_get(void)
{
    check(crash_completed() ? second_died() : 3);
}

SCENARIO(get_many_get) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "three items, a second victim gets",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get_many,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put_get, survivor_put},
    .check = check_get_many_get,
};

SCENARIO(get_many_put) = {
    .function = {FUNCTION(troupe_queue_get_many)},
    .state = "three items, a second victim puts",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get_many,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put_get, survivor_put},
    .check = check_get_many,
};
