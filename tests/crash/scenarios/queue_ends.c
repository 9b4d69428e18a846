/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a queue and of its parties, its making and its freeing. */
#include "crowd.h"
#include "queue_common.h"

#include <errno.h>

/* ---- shutdown ---- */

static void
victim_shutdown(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_shutdown(queue));
}

/* Only where the victim did not come to it. */
static void
survivor_shutdown(void)
{
    if (put(SURVIVOR, TROUPE_NOW) != -ESHUTDOWN)
        CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                      "shutdown");
}

SCENARIO(shutdown_sleepers) = {
    .function = {FUNCTION(troupe_queue_shutdown)},
    .state = "empty, two sleeping consumers",
    .setup = setup_empty,
    .peers = {peer_get_until_end, peer_get_until_end},
    .woken = 3,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shutdown, NULL},
    .check = check_put,
};

SCENARIO(shutdown_poller) = {
    .function = {FUNCTION(troupe_queue_shutdown)},
    .state = "empty, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls_until_end},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shutdown, NULL},
    .check = check_put,
};

SCENARIO(shutdown_full) = {
    .function = {FUNCTION(troupe_queue_shutdown)},
    .state = "full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_refused},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

SCENARIO(shutdown_full_poller) = {
    .function = {FUNCTION(troupe_queue_shutdown)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls_refused},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shuts_down, NULL},
    .check = check_put,
};

static void
second_put_refused(void)
{
    int status = put_ready(TROUPE_FOREVER);

    if (status != 0 && status != -ESHUTDOWN)
        crash_fail(CRASH_CORRUPTION, "the second victim's put: %s",
                   troupe_error_name(status));
}

SCENARIO(shutdown_put) = {
    .function = {FUNCTION(troupe_queue_shutdown)},
    .state = "a sleeping consumer, a second victim puts",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .second_prepare = prepare_second_put,
    .second = second_put_refused,
    .survivors = {survivor_shutdown, NULL},
    .check = check_put,
};

/* ---- declared parties ---- */

static void
victim_attach_producer(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_attach_producer(queue));
}

/* The only declared producer is dead: the consumers' stream ends. Had it not
 * declared itself yet, a survivor declares itself and leaves. */
static void
survivor_produces_and_leaves(void)
{
    int status = troupe_queue_attach_producer(queue);

    CRASH_REQUIRE(status == 0 || status == -EPIPE, CRASH_CORRUPTION,
                  "attach: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_queue_close(queue) == 0, CRASH_CORRUPTION, "close");
}

SCENARIO(attach_producer) = {
    .function = {FUNCTION(troupe_queue_attach_producer)},
    .state = "empty, a sleeping consumer",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .prepare = join_family,
    .victim = victim_attach_producer,
    .survivors = {survivor_produces_and_leaves, NULL},
    .check = check_put,
};

SCENARIO(attach_producer_poller) = {
    .function = {FUNCTION(troupe_queue_attach_producer)},
    .state = "empty, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls_until_end},
    .prepare = join_family,
    .victim = victim_attach_producer,
    .survivors = {survivor_produces_and_leaves, NULL},
    .check = check_put,
};

/* It waits for the first, which may stand in the lock that both need. */
static void
second_attach_producer(void)
{
    int status = troupe_queue_attach_producer(queue);

    if (status != 0 && status != -EPIPE)
        crash_fail(CRASH_CORRUPTION, "the second victim's attach: %s",
                   troupe_error_name(status));
}

SCENARIO(attach_producer_two) = {
    .function = {FUNCTION(troupe_queue_attach_producer)},
    .state = "a sleeping consumer, a second victim attaches",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .prepare = join_family,
    .victim = victim_attach_producer,
    .second_prepare = prepare_second,
    .second = second_attach_producer,
    .survivors = {survivor_produces_and_leaves, NULL},
    .check = check_put,
};

/* As many as are in the queue's own table; they count when they have left. */
enum { PARTIES = 23 };

static void
produces(void)
{
    CRASH_REQUIRE(troupe_queue_attach_producer(queue) == 0, CRASH_CORRUPTION,
                  "attach");
}

static void
setup_parties(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE,
                        .producers = PARTIES + 3));
    crowd_begin(PARTIES, produces);
    crowd_end();
}

/* Two and it come after those: the end has not come. The table that the dead
 * one linked is the queue's, and no memory for others. */
static void
survivor_produces(void)
{
    enum { BLOCKS = 100, TABLE = 192 };

    void *blocks[BLOCKS];
    unsigned i;

    settle();
    for (i = 0; i < BLOCKS; i++) {
        blocks[i] = patterned(TABLE, (unsigned char)(i + 1));
        CRASH_REQUIRE(blocks[i] != NULL, CRASH_CORRUPTION, "no block");
    }
    produces();
    must_put(SURVIVOR);
    for (i = 0; i < BLOCKS; i++) {
        CRASH_REQUIRE(has_pattern(blocks[i], TABLE, (unsigned char)(i + 1)),
                      CRASH_DUPLICATE, "a block is a table of the queue too");
        CRASH_REQUIRE(troupe_free(blocks[i]) == 0, CRASH_CORRUPTION,
                      "a block cannot be freed");
    }
}

SCENARIO(attach_producer_crowd) = {
    .function = {FUNCTION(troupe_queue_attach_producer)},
    .state = "the table of the parties is full",
    .setup = setup_parties,
    .prepare = join_family,
    .victim = victim_attach_producer,
    .survivors = {survivor_produces, NULL},
    .check = check_put,
};

static void
prepare_no_heap(void)
{
    join_family();
    fill_heap(0);
}

static void
victim_attach_refused(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 troupe_queue_attach_producer(queue) == -ENOMEM ? 0 : -EPROTO);
}

SCENARIO(attach_producer_no_heap) = {
    .function = {FUNCTION(troupe_queue_attach_producer)},
    .state = "the table is full, and so is the heap",
    .setup = setup_parties,
    .prepare = prepare_no_heap,
    .victim = victim_attach_refused,
    .survivors = {survivor_put, NULL},
    .check = check_put_filled,
};

static void
prepare_producer(void)
{
    CRASH_REQUIRE(troupe_queue_attach_producer(queue) == 0, CRASH_CORRUPTION,
                  "attach");
}

static void
victim_close(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_close(queue));
}

/* By close or by death: the last producer has left. */
SCENARIO(close_producer) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the only producer, a sleeping consumer",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .late = 1,
    .woken = 1,
    .prepare = prepare_producer,
    .victim = victim_close,
    .check = check_put,
};

/* It has no role: to get one it would wait for the first, which may stand in
 * the lock that both need. */
static void
second_close(void)
{
    (void)troupe_queue_close(queue);
}

SCENARIO(close_two) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the only producer, a sleeping consumer, a second victim closes",
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .late = 1,
    .prepare = prepare_producer,
    .victim = victim_close,
    .second_prepare = join_family,
    .second = second_close,
    .check = check_put,
};

SCENARIO(close_poller) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the only producer, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls_until_end},
    .late = 1,
    .woken = 1,
    .prepare = prepare_producer,
    .victim = victim_close,
    .check = check_put,
};

SCENARIO(close_crowd) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the table of the parties is full",
    .setup = setup_parties,
    .prepare = join_family,
    .victim = victim_close,
    .survivors = {survivor_produces, NULL},
    .check = check_put,
};

static void
victim_attach_consumer(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_attach_consumer(queue));
}

static void
survivor_consumes_and_leaves(void)
{
    int status = troupe_queue_attach_consumer(queue);

    CRASH_REQUIRE(status == 0 || status == -EPIPE, CRASH_CORRUPTION,
                  "attach: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_queue_close(queue) == 0, CRASH_CORRUPTION, "close");
}

SCENARIO(attach_consumer) = {
    .function = {FUNCTION(troupe_queue_attach_consumer)},
    .state = "full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_until_end},
    .prepare = join_family,
    .victim = victim_attach_consumer,
    .survivors = {survivor_consumes_and_leaves, NULL},
    .check = check_put,
};

static void
second_attach_consumer(void)
{
    int status = troupe_queue_attach_consumer(queue);

    if (status != 0 && status != -EPIPE)
        crash_fail(CRASH_CORRUPTION, "the second victim's attach: %s",
                   troupe_error_name(status));
}

SCENARIO(attach_consumer_two) = {
    .function = {FUNCTION(troupe_queue_attach_consumer)},
    .state = "full, a sleeping producer, a second victim attaches",
    .setup = setup_full,
    .peers = {peer_put_until_end},
    .prepare = join_family,
    .victim = victim_attach_consumer,
    .second_prepare = prepare_second,
    .second = second_attach_consumer,
    .survivors = {survivor_consumes_and_leaves, NULL},
    .check = check_put,
};

SCENARIO(attach_consumer_poller) = {
    .function = {FUNCTION(troupe_queue_attach_consumer)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls_until_end},
    .prepare = join_family,
    .victim = victim_attach_consumer,
    .survivors = {survivor_consumes_and_leaves, NULL},
    .check = check_put,
};

static void
prepare_consumer(void)
{
    CRASH_REQUIRE(troupe_queue_attach_consumer(queue) == 0, CRASH_CORRUPTION,
                  "attach");
}

/* By close or by death: the last consumer has left. */
SCENARIO(close_consumer) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the only consumer, full, a sleeping producer",
    .setup = setup_full,
    .peers = {peer_put_until_end},
    .late = 1,
    .woken = 1,
    .prepare = prepare_consumer,
    .victim = victim_close,
    .check = check_put,
};

SCENARIO(close_consumer_poller) = {
    .function = {FUNCTION(troupe_queue_close)},
    .state = "the only consumer, full, an epoll_wait sleeper",
    .setup = setup_full,
    .peers = {peer_put_polls_until_end},
    .late = 1,
    .woken = 1,
    .prepare = prepare_consumer,
    .victim = victim_close,
    .check = check_put,
};

/* ---- new, free, figures ---- */

static void
victim_fileno(void)
{
    int fd;

    atomic_store(crash_word(WORD_STATUS),
                 troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd));
}

/* One who polls is dead; the others are told all the same. */
SCENARIO(fileno_first) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "empty, an epoll_wait sleeper",
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_fileno,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

static void
victim_fileno_put(void)
{
    int fd;

    atomic_store(crash_word(WORD_STATUS),
                 troupe_queue_fileno(queue, TROUPE_QUEUE_PUT, &fd));
}

SCENARIO(fileno_put) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "full, an epoll_wait sleeper puts",
    .setup = setup_full,
    .peers = {peer_put_polls},
    .untimed = 1,
    .prepare = join_family,
    .victim = victim_fileno_put,
    .survivors = {survivor_get, NULL},
    .check = check_put,
};

enum { WORD_MADE = WORD_OWN };

static void
victim_new(void)
{
    troupe_queue *made = NULL;
    int status = troupe_queue_new(
        &made, TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE));

    atomic_store(crash_word(WORD_STATUS), status);
    atomic_store(crash_word(WORD_MADE), (int64_t)(uintptr_t)made);
}

/* What is no queue of the family is left alone. */
static bool
free_queue(void *address, size_t size)
{
    (void)size;
    troupe_queue_free(address);
    return false;
}

/* A queue that was made outlives its maker, and is whole; killed with its
 * address in hand, it is found. One that was not made leaves nothing. */
static void
check_new(void)
{
    settle();
    queue = (troupe_queue *)(uintptr_t)atomic_load(crash_word(WORD_MADE));
    if (crash_completed()) {
        must_put(SURVIVOR);
        must_get();
        troupe_queue_free(queue);
    }
    if (!crash_completed() || atomic_load(crash_word(WORD_CAME)) != 0)
        (void)heap_steps(free_queue, 0);
    counted_check(0);
}

static void
survivor_make(void)
{
    CRASH_REQUIRE(troupe_queue_new(&queue, TROUPE_OPTIONS(troupe_queue_options,
                                                          SMALL_QUEUE)) == 0,
                  CRASH_CORRUPTION, "new");
    must_put(SURVIVOR + 7);
    must_get();
    troupe_queue_free(queue);
}

SCENARIO(new_first) = {
    .function = {FUNCTION(troupe_queue_new)},
    .state = "warm",
    .setup = count_heap,
    .prepare = join_family,
    .victim = victim_new,
    .survivors = {survivor_make, NULL},
    .check = check_new,
};

static void
second_new(void)
{
    troupe_queue *made;
    int status = troupe_queue_new(
        &made, TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE));

    if (status != 0)
        crash_fail(CRASH_CORRUPTION, "the second victim's queue: %s",
                   troupe_error_name(status));
}

SCENARIO(new_two) = {
    .function = {FUNCTION(troupe_queue_new)},
    .state = "warm, a second victim makes one too",
    .setup = count_heap,
    .prepare = join_family,
    .victim = victim_new,
    .second_prepare = prepare_second,
    .second = second_new,
    .survivors = {survivor_make, NULL},
    .check = check_new,
};

static void
victim_new_refused(void)
{
    troupe_queue *made;
    int status = troupe_queue_new(
        &made, TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE));

    atomic_store(crash_word(WORD_STATUS), status == -ENOMEM ? 0 : -EPROTO);
}

static void
check_new_filled(void)
{
    CRASH_REQUIRE(!crash_completed() ||
                      atomic_load(crash_word(WORD_STATUS)) == 0,
                  CRASH_CORRUPTION, "a queue without memory");
    settle();
    empty_heap();
    counted_check(0);
}

SCENARIO(new_no_heap) = {
    .function = {FUNCTION(troupe_queue_new)},
    .state = "the heap is full",
    .setup = count_heap,
    .prepare = prepare_no_heap,
    .victim = victim_new_refused,
    .check = check_new_filled,
};

static void
setup_old(void)
{
    setup_empty();
    CRASH_REQUIRE(troupe_queue_put(queue, "x", 1, TROUPE_NOW) == 0,
                  CRASH_CORRUPTION, "put");
}

static void
victim_free(void)
{
    troupe_queue_free(queue);
}

static void
check_free(void)
{
    settle();
    /* Free again what is none any more: nothing happens. */
    troupe_queue_free(queue);
    counted_check(0);
}

SCENARIO(free_old) = {
    .function = {FUNCTION(troupe_queue_free)},
    .state = "one item in it",
    .setup = setup_old,
    .prepare = join_family,
    .victim = victim_free,
    .check = check_free,
};

static void
second_free(void)
{
    troupe_queue_free(queue);
}

SCENARIO(free_two) = {
    .function = {FUNCTION(troupe_queue_free)},
    .state = "one item in it, a second victim frees it too",
    .setup = setup_old,
    .prepare = join_family,
    .victim = victim_free,
    .second_prepare = prepare_second,
    .second = second_free,
    .check = check_free,
};

/* What the victim is to find. */
static troupe_queue_info expected;

static void
victim_info(void)
{
    troupe_queue_info info = {.size = sizeof(info)};
    int status = troupe_queue_info_get(queue, &info);

    if (status == 0 &&
        (info.items != expected.items || info.puts != expected.puts ||
         info.gets != expected.gets || info.leased != expected.leased ||
         info.lost != 0 || info.redelivered != 0 ||
         info.producers != expected.producers ||
         info.consumers != expected.consumers || info.bytes == 0 ||
         info.max_items != 0 || info.max_bytes != 32768 ||
         info.small_bytes != 8192 || info.shut_down != expected.shut_down ||
         info.producers_gone || info.consumers_gone))
        status = -EPROTO;
    atomic_store(crash_word(WORD_STATUS), status);
}

static void
prepare_info(void)
{
    join_family();
    expected.items = expected.puts = 3;
}

SCENARIO(info_three) = {
    .function = {FUNCTION(troupe_queue_info_get)},
    .state = "three items",
    .setup = setup_three,
    .prepare = prepare_info,
    .victim = victim_info,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* One item leased, the one behind it got, nothing comes any more. */
static void
prepare_info_leased(void)
{
    void *data;
    size_t size;

    CRASH_REQUIRE(troupe_queue_attach_producer(queue) == 0 &&
                      troupe_queue_attach_consumer(queue) == 0 &&
                      troupe_queue_peek(queue, &data, &size, TROUPE_NOW) == 0,
                  CRASH_CORRUPTION, "attach and peek");
    must_get();
    CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                  "shutdown");
    expected.items = 2;
    expected.puts = 3;
    expected.gets = expected.leased = 1;
    expected.producers = expected.consumers = 1;
    expected.shut_down = true;
}

SCENARIO(info_leased) = {
    .function = {FUNCTION(troupe_queue_info_get)},
    .state = "one of three leased, another got, shut down",
    .setup = setup_three,
    .prepare = prepare_info_leased,
    .victim = victim_info,
    .survivors = {survivor_get, NULL},
    .check = check_put,
};

/* ---- functions without kill points ---- */

static void
call_qsize(void)
{
    (void)troupe_queue_qsize(queue);
}

EXEMPT(qsize_reads) = {
    "troupe_queue_qsize", (void (*)(void))troupe_queue_qsize,
    setup_three,          call_qsize,
    "loads words",
};

static void
call_empty(void)
{
    (void)troupe_queue_empty(queue);
}

EXEMPT(empty_reads) = {
    "troupe_queue_empty", (void (*)(void))troupe_queue_empty,
    setup_three,          call_empty,
    "loads words",
};

static void
call_full(void)
{
    (void)troupe_queue_full(queue);
}

EXEMPT(full_reads) = {
    "troupe_queue_full", (void (*)(void))troupe_queue_full,
    setup_three,         call_full,
    "loads words",
};
