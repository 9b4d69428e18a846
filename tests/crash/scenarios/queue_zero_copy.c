/* SPDX-License-Identifier: Apache-2.0 */
/* Reserve and commit, peek and release: what the dead had reserved is gone,
 * what was leased to them is there again. */
#include "queue_common.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- putting ---- */

static void *reserved;

static void
reserve(uint32_t number)
{
    int status = troupe_queue_reserve(queue, BUFFER, &reserved);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "reserve: %s",
                  troupe_error_name(status));
    (void)item_fill(reserved, number);
}

static void
prepare_reserved(void)
{
    reserve(VICTIM);
}

static void
victim_reserve(void)
{
    int status = troupe_queue_reserve(queue, LARGE, &reserved);

    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(reserve_large) = {
    .function = {FUNCTION(troupe_queue_reserve)},
    .state = "large",
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_reserve,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* Both come out of the heap at the same time. */
static void
second_reserve(void)
{
    void *data;
    int status = troupe_queue_reserve(queue, LARGE, &data);

    if (status != 0)
        crash_fail(CRASH_CORRUPTION, "the second victim's reserve: %s",
                   troupe_error_name(status));
}

SCENARIO(reserve_two) = {
    .function = {FUNCTION(troupe_queue_reserve)},
    .state = "large, a second victim reserves",
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_reserve,
    .second_prepare = prepare_second,
    .second = second_reserve,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

static void
prepare_no_heap(void)
{
    join_family();
    fill_heap(LARGE);
}

static void
victim_reserve_no_heap(void)
{
    int status = troupe_queue_reserve(queue, LARGE, &reserved);

    atomic_store(crash_word(WORD_STATUS), status == -ENOMEM ? 0 : -EPROTO);
}

SCENARIO(reserve_no_heap) = {
    .function = {FUNCTION(troupe_queue_reserve)},
    .state = "large, the heap is full",
    .setup = setup_large,
    .prepare = prepare_no_heap,
    .victim = victim_reserve_no_heap,
    .check = check_put_filled,
};

/* Less than a queue keeps in itself. */
enum { SMALL = 64 };

static void
victim_reserve_small(void)
{
    int status = troupe_queue_reserve(queue, SMALL, &reserved);

    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(reserve_small) = {
    .function = {FUNCTION(troupe_queue_reserve)},
    .state = "small",
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_reserve_small,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

static void
victim_commit(void)
{
    int status;

    crash_put_begin(VICTIM);
    status =
        troupe_queue_commit(queue, reserved, item_size(VICTIM), TROUPE_FOREVER);
    if (status == 0)
        crash_put_done(VICTIM);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(commit_small) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "small, a sleeping consumer",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(commit_large) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "large, a sleeping consumer",
    .setup = setup_large,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(commit_poller) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "large, an epoll_wait sleeper",
    .setup = setup_large,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

/* A commit that is refused leaves the reservation with its holder. */
static void
victim_commit_refused(void)
{
    int status =
        troupe_queue_commit(queue, reserved, item_size(VICTIM), TROUPE_FOREVER);

    if (status == -ESHUTDOWN)
        status = troupe_queue_cancel(queue, reserved);
    atomic_store(crash_word(WORD_STATUS), status);
}

static void
prepare_reserved_shut_down(void)
{
    reserve(VICTIM);
    survivor_shuts_down();
}

SCENARIO(commit_shut_down) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "large, shut down",
    .setup = setup_large,
    .prepare = prepare_reserved_shut_down,
    .victim = victim_commit_refused,
    .check = check_put,
};

SCENARIO(commit_sleeps_shut_down) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "full, sleeps beside another, is shut down",
    .setup = setup_full,
    .peers = {peer_put_refused},
    .untimed = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit_refused,
    .nudge = nudge_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

static void
victim_reserve_refused(void)
{
    int status = troupe_queue_reserve(queue, LARGE, &reserved);

    atomic_store(crash_word(WORD_STATUS), status == -ESHUTDOWN ? 0 : -EPROTO);
}

static void
prepare_shut_down(void)
{
    join_family();
    survivor_shuts_down();
}

SCENARIO(reserve_shut_down) = {
    .function = {FUNCTION(troupe_queue_reserve)},
    .state = "large, shut down",
    .setup = setup_large,
    .prepare = prepare_shut_down,
    .victim = victim_reserve_refused,
    .check = check_put,
};

/* With a large item, whose room is counted in bytes. */
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

SCENARIO(commit_bytes) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "full by bytes, a large item sleeps beside another",
    .setup = setup_bytes_large,
    .peers = {peer_put_sleeps},
    .untimed = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .nudge = nudge_get_two,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_put,
};

/* Killed with a wake-up for room: the other sleeper must not miss it. */
SCENARIO(commit_full) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "full, sleeps beside another, a peer gets",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .untimed = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .nudge = nudge_get_two,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_put,
};

SCENARIO(commit_put) = {
    .function = {FUNCTION(troupe_queue_commit)},
    .state = "large, a second victim puts",
    .setup = setup_large,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

static void
victim_cancel(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_cancel(queue, reserved));
}

SCENARIO(cancel_large) = {
    .function = {FUNCTION(troupe_queue_cancel)},
    .state = "large",
    .setup = setup_large,
    .prepare = prepare_reserved,
    .victim = victim_cancel,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

static void
prepare_reserved_small(void)
{
    int status = troupe_queue_reserve(queue, SMALL, &reserved);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "reserve: %s",
                  troupe_error_name(status));
}

SCENARIO(cancel_small) = {
    .function = {FUNCTION(troupe_queue_cancel)},
    .state = "small",
    .setup = setup_empty,
    .prepare = prepare_reserved_small,
    .victim = victim_cancel,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* ---- getting ---- */

static void *leased;

static void
victim_peek(void)
{
    size_t size = 0;
    int status = troupe_queue_peek(queue, &leased, &size, TROUPE_FOREVER);

    atomic_store(crash_word(WORD_STATUS), status);
}

/* What was leased to the dead is there again. */
SCENARIO(peek_three) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "three items",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

SCENARIO(peek_large) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "three large items",
    .setup = setup_three_large,
    .prepare = join_family,
    .victim = victim_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

SCENARIO(peek_sleeps) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "empty, sleeps beside another, a peer puts",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_peek,
    .nudge = nudge_put_two,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* Its time passes, and whoever sleeps beside it is woken all the same. */
static void
victim_peek_in_time(void)
{
    size_t size = 0;
    int status = troupe_queue_peek(queue, &leased, &size, troupe_after(0.2));

    atomic_store(crash_word(WORD_STATUS), status == -ETIMEDOUT ? 0 : -EPROTO);
}

SCENARIO(peek_in_time) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "empty, its time passes beside a sleeper",
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_peek_in_time,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

static void
victim_peek_end(void)
{
    size_t size = 0;
    int status = troupe_queue_peek(queue, &leased, &size, TROUPE_FOREVER);

    atomic_store(crash_word(WORD_STATUS), status == -EPIPE ? 0 : -EPROTO);
}

SCENARIO(peek_sleeps_shut_down) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "empty, sleeps beside another, is shut down",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_peek_end,
    .nudge = nudge_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

static void
second_peek(void)
{
    void *data;
    size_t size;

    (void)!troupe_queue_peek(queue, &data, &size, TROUPE_NOW);
}

SCENARIO(peek_peek) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "three items, a second victim peeks",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_peek,
    .second_prepare = prepare_second,
    .second = second_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

static void
prepare_leased(void)
{
    size_t size = 0;
    int status = troupe_queue_peek(queue, &leased, &size, TROUPE_FOREVER);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "peek: %s",
                  troupe_error_name(status));
}

static unsigned attempts;

static void
victim_attempts(void)
{
    unsigned found = troupe_queue_attempts(queue, leased);

    atomic_store(crash_word(WORD_STATUS), found == attempts ? 0 : -EPROTO);
}

SCENARIO(attempts_leased) = {
    .function = {FUNCTION(troupe_queue_attempts)},
    .state = "leased for the first time",
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_attempts,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* Somebody has died with the first item leased. */
static void
setup_leased_before(void)
{
    pid_t pid;

    setup_three();
    pid = fork();
    CRASH_REQUIRE(pid >= 0, CRASH_CORRUPTION, "fork: %d", errno);
    if (pid == 0) {
        prepare_leased();
        (void)kill(getpid(), SIGKILL);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    attempts = 1;
}

SCENARIO(attempts_again) = {
    .function = {FUNCTION(troupe_queue_attempts)},
    .state = "leased for the second time",
    .setup = setup_leased_before,
    .prepare = prepare_leased,
    .victim = victim_attempts,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* Nobody has seen yet that the first lessee is dead. */
SCENARIO(peek_again) = {
    .function = {FUNCTION(troupe_queue_peek)},
    .state = "three items, the first was leased to one that died",
    .setup = setup_leased_before,
    .prepare = join_family,
    .victim = victim_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

enum { WORD_BEGUN = WORD_OWN, WORD_LEASED };

/* The victim has seen the item: when release returned it counts as got. */
static void
victim_release(void)
{
    uint32_t number = ((struct item *)leased)->number;
    int status;

    atomic_store(crash_word(WORD_BEGUN), 1);
    status = troupe_queue_release(queue, leased);
    if (status == 0)
        crash_got(number);
    atomic_store(crash_word(WORD_STATUS), status);
}

/*
 * What was leased to the dead was released, or is there again, which the queue
 * counts. Whoever was killed after a release has not said that it took the
 * item; this says it for them, and for nobody else. `leases` the dead may have
 * had.
 */
static void
check_releases(unsigned leases, unsigned hands)
{
    troupe_queue_info info = {.size = sizeof(info)};
    unsigned unsaid = 0, i;

    if (!crash_completed() && atomic_load(crash_word(WORD_BEGUN)) != 0)
        unsaid++;
    if (second_died() && atomic_load(crash_word(WORD_LEASED)) != 0)
        unsaid++;
    settle();
    while (get(TROUPE_NOW) >= 0) {
    }
    CRASH_REQUIRE(troupe_queue_info_get(queue, &info) == 0, CRASH_CORRUPTION,
                  "no figures about the queue");
    CRASH_REQUIRE(info.redelivered <= leases, CRASH_DUPLICATE,
                  "%lu leases came back, of %u",
                  (unsigned long)info.redelivered, leases);
    leases -= (unsigned)info.redelivered;
    if (unsaid > leases)
        unsaid = leases;
    for (i = 0; i < 2 && unsaid > 0; i++)
        if (crash_got_count(FIRST + i) == 0) {
            crash_got(FIRST + i);
            unsaid--;
        }
    check(hands);
}

static void
check_release(void)
{
    check_releases(!crash_completed(), 0);
}

SCENARIO(release_first) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "the first of three",
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_put, NULL},
    .check = check_release,
};

SCENARIO(release_large) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "the first of three large ones",
    .setup = setup_three_large,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_put, NULL},
    .check = check_release,
};

/* Those behind have been taken meanwhile. */
static void
prepare_leased_overtaken(void)
{
    prepare_leased();
    must_get();
    must_get();
}

SCENARIO(release_overtaken) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "those behind were taken",
    .setup = setup_three,
    .prepare = prepare_leased_overtaken,
    .victim = victim_release,
    .survivors = {survivor_put, NULL},
    .check = check_release,
};

SCENARIO(release_full) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .late = 1,
    .woken = 1,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_release,
};

/* The second of the two was got before: the release makes room for both. */
static void
prepare_leased_before_got(void)
{
    prepare_leased();
    must_get();
}

/* What came back from the dead stands in front of what was got. */
static void
survivor_gets_first(void)
{
    settle();
    (void)get(TROUPE_NOW);
}

SCENARIO(release_sleepers) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "the one behind was got, two sleeping producers",
    .setup = setup_full,
    .peers = {peer_put_sleeps, peer_put_sleeps},
    .late = 3,
    .woken = 3,
    .prepare = prepare_leased_before_got,
    .victim = victim_release,
    .survivors = {survivor_gets_first, NULL},
    .check = check_release,
};

SCENARIO(release_poller) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls},
    .late = 1,
    .woken = 1,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_release,
};

/* Leases one as well, if the first lets it. */
static void
second_release(void)
{
    size_t size = 0;
    uint32_t number;

    if (troupe_queue_peek(queue, &leased, &size, TROUPE_NOW) != 0)
        return;
    atomic_store(crash_word(WORD_LEASED), 1);
    number = ((struct item *)leased)->number;
    if (troupe_queue_release(queue, leased) == 0)
        crash_got(number);
}

static void
check_release_release(void)
{
    check_releases(!crash_completed() + second_died(), 0);
}

static void
check_release_get(void)
{
    check_releases(!crash_completed(), second_died());
}

SCENARIO(release_release) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "the first of three, a second victim peeks and releases",
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_release,
    .second_prepare = prepare_second,
    .second = second_release,
    .survivors = {survivor_put, NULL},
    .check = check_release_release,
};

SCENARIO(release_get) = {
    .function = {FUNCTION(troupe_queue_release)},
    .state = "the first of three, a second victim gets",
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_release,
    .second_prepare = prepare_second,
    .second = second_get,
    .survivors = {survivor_put, NULL},
    .check = check_release_get,
};
