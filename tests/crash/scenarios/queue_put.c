/* SPDX-License-Identifier: Apache-2.0 */
/* Put: an item is there whole or not at all, and whoever waits for it learns of
 * it. */
#include "queue_common.h"

#include <errno.h>
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
victim_put_gone(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 put_ready(TROUPE_FOREVER) == -EPIPE ? 0 : -EINVAL);
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

    for (i = 0; i < MANY; i++) {
        items[i].iov_base = &many[i];
        items[i].iov_len = item_size(VICTIM + i);
        crash_put_begin(VICTIM + i);
    }
    status = troupe_queue_put_many(queue, items, MANY, &put_count, deadline);
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
