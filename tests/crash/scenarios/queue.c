/* SPDX-License-Identifier: Apache-2.0 */
/* The queue: every item once, whole and in order, and nobody waits in vain. */
#include "common.h"

#include <troupe/queue.h>

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    LARGE = 6000, /* more than a queue keeps in itself */
    FIRST = 1,    /* items of the setup; those of others follow */
    VICTIM = 50,
    SECOND = 80,
    SURVIVOR = 100,
    BUFFER = 8192
};

static troupe_queue *queue;

enum { WORD_STATUS, WORD_POLLED, WORD_SECOND, WORD_LARGE };

/* ---- items: a number, and bytes that follow from it ---- */

struct item {
    uint32_t number;
    unsigned char bytes[BUFFER - sizeof(uint32_t)];
};

static size_t
item_size(uint32_t number)
{
    if (atomic_load(crash_word(WORD_LARGE)) != 0)
        return LARGE + number % 16;
    return sizeof(number) + 24 + number % 16;
}

static size_t
item_fill(struct item *item, uint32_t number)
{
    size_t size = item_size(number), i;

    item->number = number;
    for (i = 0; i < size - sizeof(number); i++)
        item->bytes[i] = (unsigned char)(number * 31 + i);
    return size;
}

static void
item_arrived(const struct item *item, size_t size)
{
    size_t i;

    CRASH_REQUIRE(size >= sizeof(item->number) && item->number < CRASH_ITEMS &&
                      size == item_size(item->number),
                  CRASH_CORRUPTION, "an item of %zu bytes, number %u", size,
                  size >= sizeof(item->number) ? item->number : 0);
    for (i = 0; i < size - sizeof(item->number); i++)
        CRASH_REQUIRE(item->bytes[i] == (unsigned char)(item->number * 31 + i),
                      CRASH_CORRUPTION, "item %u is torn at byte %zu",
                      item->number, i);
    crash_got(item->number);
}

static int
put(uint32_t number, troupe_deadline deadline)
{
    struct item item;
    size_t size = item_fill(&item, number);
    int status;

    crash_put_begin(number);
    status = troupe_queue_put(queue, &item, size, deadline);
    if (status == 0)
        crash_put_done(number);
    return status;
}

/* The number that came, or a status. */
static int
get(troupe_deadline deadline)
{
    struct item item;
    size_t size = sizeof(item);
    int status = troupe_queue_get(queue, &item, &size, deadline);

    if (status < 0)
        return status;
    item_arrived(&item, size);
    return (int)item.number;
}

static void
must_put(uint32_t number)
{
    int status = put(number, PATIENCE);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "put of item %u: %s", number,
                  troupe_error_name(status));
}

static void
must_get(void)
{
    int status = get(PATIENCE);

    CRASH_REQUIRE(status >= 0, CRASH_CORRUPTION, "get: %s",
                  troupe_error_name(status));
}

/* ---- setups ---- */

static void
make(const troupe_queue_options *options)
{
    int status;

    limited_heap();
    status = troupe_queue_new(&queue, options);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

/* The class of large items gets its slab before the counting. */
static void
count(void)
{
    CRASH_REQUIRE(troupe_free(troupe_alloc(LARGE)) == 0, CRASH_CORRUPTION,
                  "alloc");
    counted_heap();
}

static void
setup_empty(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192));
    count();
}

static void
setup_large(void)
{
    atomic_store(crash_word(WORD_LARGE), 1);
    counted_class(LARGE + 80);
    setup_empty();
}

/* Room for two items. */
static void
setup_two(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_items = 2,
                        .max_bytes = 32768, .small_bytes = 8192));
    count();
}

static void
setup_full(void)
{
    setup_two();
    must_put(FIRST);
    must_put(FIRST + 1);
}

static void
setup_three(void)
{
    setup_empty();
    must_put(FIRST);
    must_put(FIRST + 1);
    must_put(FIRST + 2);
}

static void
setup_three_large(void)
{
    atomic_store(crash_word(WORD_LARGE), 1);
    counted_class(LARGE + 80);
    setup_three();
}

static void
setup_single(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192, .single_producer = true,
                        .single_consumer = true));
    count();
}

static void
setup_single_three(void)
{
    setup_single();
    must_put(FIRST);
    must_put(FIRST + 1);
    must_put(FIRST + 2);
}

/* ---- survivors, peers and checks ---- */

static void
survivor_put(void)
{
    must_put(SURVIVOR);
}

static void
survivor_get(void)
{
    must_get();
}

static void
survivor_put_get(void)
{
    must_put(SURVIVOR + 1);
    must_get();
}

/*
 * Only when nothing is there and nothing has come: a sleeper that was owed a
 * wake-up must come to the victim's item by itself.
 */
static void
survivor_put_if_none(void)
{
    unsigned i, got = 0;

    for (i = VICTIM; i < VICTIM + 8; i++)
        got += crash_got_count(i);
    if (troupe_queue_qsize(queue) == 0 && got == 0)
        must_put(SURVIVOR);
}

static void
survivor_try(void)
{
    int status = put(SURVIVOR, TROUPE_NOW);

    CRASH_REQUIRE(status == 0 || status == -EAGAIN, CRASH_CORRUPTION,
                  "a try to put: %s", troupe_error_name(status));
    status = get(TROUPE_NOW);
    CRASH_REQUIRE(status >= 0 || status == -EAGAIN, CRASH_CORRUPTION,
                  "a try to get: %s", troupe_error_name(status));
}

static void
peer_get_sleeps(void)
{
    join_family();
    crash_ready();
    must_get();
}

static void
peer_put_sleeps(void)
{
    join_family();
    crash_ready();
    must_put(FIRST + 5);
}

/* Has the dead looked after, so that the figures are final. */
static void
settle(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                  "no figures about the heap");
}

/* Everything that is left, in order; then nothing is left in the heap. */
static void
check(unsigned hands)
{
    troupe_queue_info info = {.size = sizeof(info)};
    int last = 0, number;

    settle();
    while ((number = get(TROUPE_NOW)) >= 0) {
        if (number < VICTIM && number < last)
            crash_fail(CRASH_CORRUPTION, "item %d came after item %d", number,
                       last);
        if (number < VICTIM)
            last = number;
    }
    CRASH_REQUIRE(number == -EAGAIN || number == -EPIPE, CRASH_CORRUPTION,
                  "an empty queue: %s", troupe_error_name(number));
    CRASH_REQUIRE(troupe_queue_info_get(queue, &info) == 0, CRASH_CORRUPTION,
                  "no figures about the queue");
    if (info.items != 0 || info.bytes != 0)
        crash_fail(CRASH_CORRUPTION, "%lu items of %lu bytes in an empty queue",
                   (unsigned long)info.items, (unsigned long)info.bytes);
    if (info.lost > hands)
        crash_fail(CRASH_LOSS,
                   "the queue counts %lu lost items, %u was "
                   "allowed",
                   (unsigned long)info.lost, hands);
    crash_check_items(hands);
    /* The list of who polls a side is the queue's for as long as it lives. */
    counted_check((unsigned)atomic_load(crash_word(WORD_POLLED)));
}

/* Producers may die: nothing that is there gets lost. */
static void
check_put(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) != 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
    check(0);
}

/* A consumer that dies inside may take one item with it. */
static void
check_get(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) < 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
    check(crash_completed() ? 0 : 1);
}

static void
check_pair_put(void)
{
    check(0);
}

static void
check_pair_get(void)
{
    check(2);
}

static void
check_pair_get_put(void)
{
    check(1);
}

/* ---- put ---- */

/*
 * What victims put is ready before, and what they get is looked at in few
 * places: every instruction of theirs is stepped.
 */
static struct item ready;

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
prepare_second_put(void)
{
    join_family();
    (void)item_fill(&ready, SECOND);
}

static int
put_ready(troupe_deadline deadline)
{
    uint32_t number = ready.number;
    int status;

    crash_put_begin(number);
    status = troupe_queue_put(queue, &ready, item_size(number), deadline);
    if (status == 0)
        crash_put_done(number);
    return status;
}

static void
victim_put(void)
{
    atomic_store(crash_word(WORD_STATUS), put_ready(TROUPE_FOREVER));
}

static void
second_put(void)
{
    (void)put_ready(TROUPE_FOREVER);
}

static void
looked_at(const struct item *item, size_t size)
{
    CRASH_REQUIRE(size >= sizeof(item->number) && item->number < CRASH_ITEMS &&
                      size == item_size(item->number) &&
                      item->bytes[0] == (unsigned char)(item->number * 31),
                  CRASH_CORRUPTION, "the victim got an item of %zu bytes",
                  size);
    crash_got(item->number);
}

static int
get_ready(troupe_deadline deadline)
{
    size_t size = sizeof(ready);
    int status = troupe_queue_get(queue, &ready, &size, deadline);

    if (status == 0)
        looked_at(&ready, size);
    return status;
}

static void
second_get(void)
{
    (void)get_ready(TROUPE_NOW);
}

SCENARIO(put_empty) = {
    .operation = "troupe_queue_put",
    .state = "empty",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_cold) = {
    .operation = "troupe_queue_put",
    .state = "empty, the first call of its process",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .prepare = prepare_item,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_sleeper) = {
    .operation = "troupe_queue_put",
    .state = "empty, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

/* Wakes one of two; the other is woken by the survivor's item. */
static void
survivor_put_two(void)
{
    survivor_put_if_none();
    must_put(SURVIVOR + 3);
}

SCENARIO(put_sleepers) = {
    .operation = "troupe_queue_put",
    .state = "empty, two sleeping consumers",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps, peer_get_sleeps},
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
    .operation = "troupe_queue_put",
    .state = "full, sleeps, a peer gets",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
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

SCENARIO(put_full_try) = {
    .operation = "troupe_queue_put",
    .state = "full, tries once",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_full,
    .prepare = prepare_put,
    .victim = victim_put_try,
    .survivors = {survivor_try, survivor_get},
    .check = check_put,
};

SCENARIO(put_large) = {
    .operation = "troupe_queue_put",
    .state = "a large item",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_large,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_single) = {
    .operation = "troupe_queue_put",
    .state = "a single producer, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_single,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_put) = {
    .operation = "troupe_queue_put",
    .state = "empty, a second victim puts",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_pair_put,
};

SCENARIO(put_get) = {
    .operation = "troupe_queue_put",
    .state = "empty, a second victim gets",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = join_family,
    .second = second_get,
    .survivors = {survivor_put, survivor_put_get},
    .check = check_pair_get_put,
};

/* ---- get ---- */

static void
victim_get(void)
{
    atomic_store(crash_word(WORD_STATUS), get_ready(TROUPE_FOREVER));
}

SCENARIO(get_three) = {
    .operation = "troupe_queue_get",
    .state = "three items",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

SCENARIO(get_cold) = {
    .operation = "troupe_queue_get",
    .state = "three items, the first call of its process",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_three,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

/* Only where the victim made no room: a sleeper that was owed a wake-up must
 * find the room by itself. */
static void
survivor_get_if_full(void)
{
    troupe_queue_info info = {.size = sizeof(info)};

    settle();
    CRASH_REQUIRE(troupe_queue_info_get(queue, &info) == 0, CRASH_CORRUPTION,
                  "no figures about the queue");
    if (info.items == 2)
        (void)get(TROUPE_NOW);
}

SCENARIO(get_full) = {
    .operation = "troupe_queue_get",
    .state = "full, a sleeping producer",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get_if_full, NULL},
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
    .operation = "troupe_queue_get",
    .state = "empty, sleeps, a peer puts",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_get,
    .nudge = nudge_put,
    .survivors = {survivor_put, NULL},
    .check = check_get,
};

/* One for each. */
static bool
nudge_put_two(unsigned n)
{
    if (n > 0)
        return false;
    must_put(FIRST);
    must_put(FIRST + 1);
    return true;
}

/* Woken for an item and killed: the other sleeper must not miss it. */
SCENARIO(get_sleeps_beside) = {
    .operation = "troupe_queue_get",
    .state = "empty, sleeps beside another, a peer puts",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .prepare = join_family,
    .victim = victim_get,
    .nudge = nudge_put_two,
    .survivors = {survivor_put, NULL},
    .check = check_get,
};

SCENARIO(get_large) = {
    .operation = "troupe_queue_get",
    .state = "three large items",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_three_large,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get, survivor_put},
    .check = check_get,
};

SCENARIO(get_single) = {
    .operation = "troupe_queue_get",
    .state = "three items, a single consumer",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
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
    .operation = "troupe_queue_get",
    .state = "empty, tries once",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_get_try,
    .survivors = {survivor_put, survivor_get},
    .check = check_get,
};

SCENARIO(get_get) = {
    .operation = "troupe_queue_get",
    .state = "three items, a second victim gets",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .second_prepare = join_family,
    .second = second_get,
    .survivors = {survivor_put, survivor_get},
    .check = check_pair_get,
};

SCENARIO(get_put) = {
    .operation = "troupe_queue_get",
    .state = "three items, a second victim puts",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_pair_get_put,
};

/* ---- many at once ---- */

enum { MANY = 4 };

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
victim_put_many(void)
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
    status = troupe_queue_put_many(queue, items, MANY, &put_count, TROUPE_NOW);
    for (i = 0; i < put_count; i++)
        crash_put_done(VICTIM + i);
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(put_many) = {
    .operation = "troupe_queue_put_many",
    .state = "empty",
    .covers = COVERS(FUNCTION(troupe_queue_put_many)),
    .setup = setup_empty,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

SCENARIO(put_many_sleepers) = {
    .operation = "troupe_queue_put_many",
    .state = "empty, two sleeping consumers",
    .covers = COVERS(FUNCTION(troupe_queue_put_many)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps, peer_get_sleeps},
    .woken = 3,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put_two, NULL},
    .check = check_put,
};

SCENARIO(put_many_short) = {
    .operation = "troupe_queue_put_many",
    .state = "room for two of four",
    .covers = COVERS(FUNCTION(troupe_queue_put_many)),
    .setup = setup_two,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_try, survivor_put_get},
    .check = check_put,
};

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
    .operation = "troupe_queue_get_many",
    .state = "three items",
    .covers = COVERS(FUNCTION(troupe_queue_get_many)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_put_get, survivor_put},
    .check = check_get_many,
};

SCENARIO(get_many_sleeper) = {
    .operation = "troupe_queue_get_many",
    .state = "full, a sleeping producer",
    .covers = COVERS(FUNCTION(troupe_queue_get_many)),
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get_many,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get_many,
};

/* ---- zero copy, putting ---- */

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
    .operation = "troupe_queue_reserve",
    .state = "large",
    .covers = COVERS(FUNCTION(troupe_queue_reserve)),
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_reserve,
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
    .operation = "troupe_queue_commit",
    .state = "small, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_commit)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(commit_large) = {
    .operation = "troupe_queue_commit",
    .state = "large, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_commit)),
    .setup = setup_large,
    .peers = {peer_get_sleeps},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(commit_put) = {
    .operation = "troupe_queue_commit",
    .state = "large, a second victim puts",
    .covers = COVERS(FUNCTION(troupe_queue_commit)),
    .setup = setup_large,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, survivor_get},
    .check = check_pair_put,
};

static void
victim_cancel(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_cancel(queue, reserved));
}

SCENARIO(cancel_large) = {
    .operation = "troupe_queue_cancel",
    .state = "large",
    .covers = COVERS(FUNCTION(troupe_queue_cancel)),
    .setup = setup_large,
    .prepare = prepare_reserved,
    .victim = victim_cancel,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* ---- zero copy, getting ---- */

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
    .operation = "troupe_queue_peek",
    .state = "three items",
    .covers = COVERS(FUNCTION(troupe_queue_peek)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

SCENARIO(peek_large) = {
    .operation = "troupe_queue_peek",
    .state = "three large items",
    .covers = COVERS(FUNCTION(troupe_queue_peek)),
    .setup = setup_three_large,
    .prepare = join_family,
    .victim = victim_peek,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

SCENARIO(peek_sleeps) = {
    .operation = "troupe_queue_peek",
    .state = "empty, sleeps beside another, a peer puts",
    .covers = COVERS(FUNCTION(troupe_queue_peek)),
    .setup = setup_empty,
    .peers = {peer_get_sleeps},
    .prepare = join_family,
    .victim = victim_peek,
    .nudge = nudge_put_two,
    .survivors = {survivor_put, NULL},
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
    .operation = "troupe_queue_peek",
    .state = "three items, a second victim peeks",
    .covers = COVERS(FUNCTION(troupe_queue_peek)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_peek,
    .second_prepare = join_family,
    .second = second_peek,
    .survivors = {survivor_put, NULL},
    .check = check_pair_put,
};

static void
prepare_leased(void)
{
    size_t size = 0;
    int status = troupe_queue_peek(queue, &leased, &size, TROUPE_FOREVER);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "peek: %s",
                  troupe_error_name(status));
}

static void
victim_attempts(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 (int)troupe_queue_attempts(queue, leased));
}

SCENARIO(attempts_leased) = {
    .operation = "troupe_queue_attempts",
    .state = "leased for the first time",
    .covers = COVERS(FUNCTION(troupe_queue_attempts)),
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_attempts,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* The victim has seen the item: when release returned it counts as got. */
static void
victim_release(void)
{
    uint32_t number = ((struct item *)leased)->number;
    int status = troupe_queue_release(queue, leased);

    if (status == 0)
        crash_got(number);
    atomic_store(crash_word(WORD_STATUS), status);
}

/* Released, or leased by the dead and there again: never lost uncounted. */
static void
check_release(void)
{
    settle();
    while (get(TROUPE_NOW) >= 0) {
    }
    /* Killed after the release and before saying so. */
    if (!crash_completed() && crash_got_count(FIRST) == 0)
        crash_got(FIRST);
    check(0);
}

SCENARIO(release_first) = {
    .operation = "troupe_queue_release",
    .state = "the first of three",
    .covers = COVERS(FUNCTION(troupe_queue_release)),
    .setup = setup_three,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_put, NULL},
    .check = check_release,
};

SCENARIO(release_large) = {
    .operation = "troupe_queue_release",
    .state = "the first of three large ones",
    .covers = COVERS(FUNCTION(troupe_queue_release)),
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
    .operation = "troupe_queue_release",
    .state = "those behind were taken",
    .covers = COVERS(FUNCTION(troupe_queue_release)),
    .setup = setup_three,
    .prepare = prepare_leased_overtaken,
    .victim = victim_release,
    .survivors = {survivor_put, NULL},
    .check = check_release,
};

SCENARIO(release_full) = {
    .operation = "troupe_queue_release",
    .state = "full, a sleeping producer",
    .covers = COVERS(FUNCTION(troupe_queue_release)),
    .setup = setup_full,
    .peers = {peer_put_sleeps},
    .late = 1,
    .woken = 1,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_release,
};

/* ---- the ends ---- */

static void
peer_get_until_end(void)
{
    int status;

    join_family();
    crash_ready();
    while ((status = get(PATIENCE)) >= 0) {
    }
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
                  troupe_error_name(status));
}

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
    .operation = "troupe_queue_shutdown",
    .state = "empty, two sleeping consumers",
    .covers = COVERS(FUNCTION(troupe_queue_shutdown)),
    .setup = setup_empty,
    .peers = {peer_get_until_end, peer_get_until_end},
    .woken = 3,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shutdown, NULL},
    .check = check_put,
};

/* A producer that sleeps before a full queue is refused then. */
static void
peer_put_refused(void)
{
    int status;

    join_family();
    crash_ready();
    status = put(FIRST + 5, PATIENCE);
    CRASH_REQUIRE(status == -ESHUTDOWN, CRASH_CORRUPTION,
                  "a put into what was shut down: %s",
                  troupe_error_name(status));
}

static void
survivor_shutdown_full(void)
{
    CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                  "shutdown");
}

SCENARIO(shutdown_full) = {
    .operation = "troupe_queue_shutdown",
    .state = "full, a sleeping producer",
    .covers = COVERS(FUNCTION(troupe_queue_shutdown)),
    .setup = setup_full,
    .peers = {peer_put_refused},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shutdown_full, NULL},
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
    .operation = "troupe_queue_attach_producer",
    .state = "empty, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_attach_producer)),
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .prepare = join_family,
    .victim = victim_attach_producer,
    .survivors = {survivor_produces_and_leaves, NULL},
    .check = check_put,
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
    .operation = "troupe_queue_close",
    .state = "the only producer, a sleeping consumer",
    .covers = COVERS(FUNCTION(troupe_queue_close)),
    .setup = setup_empty,
    .peers = {peer_get_until_end},
    .late = 1,
    .woken = 1,
    .prepare = prepare_producer,
    .victim = victim_close,
    .check = check_put,
};

static void
victim_attach_consumer(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_queue_attach_consumer(queue));
}

static void
peer_put_until_end(void)
{
    int status;

    join_family();
    crash_ready();
    status = put(FIRST + 5, PATIENCE);
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
                  troupe_error_name(status));
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
    .operation = "troupe_queue_attach_consumer",
    .state = "full, a sleeping producer",
    .covers = COVERS(FUNCTION(troupe_queue_attach_consumer)),
    .setup = setup_full,
    .peers = {peer_put_until_end},
    .prepare = join_family,
    .victim = victim_attach_consumer,
    .survivors = {survivor_consumes_and_leaves, NULL},
    .check = check_put,
};

/* ---- sleepers in epoll_wait, without timeout ---- */

static int
epoll_of(int side)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = -1, status;

    atomic_store(crash_word(WORD_POLLED), 1);
    status = troupe_queue_fileno(queue, side, &fd);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "fileno: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(epoll >= 0 &&
                      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0,
                  CRASH_CORRUPTION, "epoll: %d", errno);
    return epoll;
}

static void
sleep_in(int epoll)
{
    struct epoll_event event;

    while (epoll_wait(epoll, &event, 1, -1) < 0 && errno == EINTR) {
    }
}

static void
peer_get_polls(void)
{
    int epoll, status;

    join_family();
    epoll = epoll_of(TROUPE_QUEUE_GET);
    crash_ready();
    while ((status = get(TROUPE_NOW)) == -EAGAIN)
        sleep_in(epoll);
    CRASH_REQUIRE(status >= 0 || status == -EPIPE, CRASH_CORRUPTION, "get: %s",
                  troupe_error_name(status));
}

static void
peer_put_polls(void)
{
    int epoll, status;

    join_family();
    epoll = epoll_of(TROUPE_QUEUE_PUT);
    crash_ready();
    while ((status = put(FIRST + 5, TROUPE_NOW)) == -EAGAIN)
        sleep_in(epoll);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "put: %s",
                  troupe_error_name(status));
}

SCENARIO(put_poller) = {
    .operation = "troupe_queue_put",
    .state = "empty, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(put_poller_sleeper) = {
    .operation = "troupe_queue_put",
    .state = "empty, an epoll_wait sleeper and another",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .peers = {peer_get_polls, peer_get_sleeps},
    .prepare = prepare_put,
    .victim = victim_put,
    .survivors = {survivor_put_two, NULL},
    .check = check_put,
};

SCENARIO(put_poller_two) = {
    .operation = "troupe_queue_put",
    .state = "an epoll_wait sleeper, a second victim puts",
    .covers = COVERS(FUNCTION(troupe_queue_put)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .prepare = prepare_put,
    .victim = victim_put,
    .second_prepare = prepare_second_put,
    .second = second_put,
    .survivors = {survivor_put, NULL},
    .check = check_pair_put,
};

SCENARIO(put_many_poller) = {
    .operation = "troupe_queue_put_many",
    .state = "empty, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_put_many)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_many,
    .victim = victim_put_many,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(commit_poller) = {
    .operation = "troupe_queue_commit",
    .state = "large, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_commit)),
    .setup = setup_large,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = prepare_reserved,
    .victim = victim_commit,
    .survivors = {survivor_put_if_none, NULL},
    .check = check_put,
};

SCENARIO(get_poller) = {
    .operation = "troupe_queue_get",
    .state = "full, an epoll_wait sleeper puts",
    .covers = COVERS(FUNCTION(troupe_queue_get)),
    .setup = setup_full,
    .peers = {peer_put_polls},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_get,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_get,
};

SCENARIO(release_poller) = {
    .operation = "troupe_queue_release",
    .state = "full, an epoll_wait sleeper puts",
    .covers = COVERS(FUNCTION(troupe_queue_release)),
    .setup = setup_full,
    .peers = {peer_put_polls},
    .late = 1,
    .woken = 1,
    .prepare = prepare_leased,
    .victim = victim_release,
    .survivors = {survivor_get_if_full, NULL},
    .check = check_release,
};

SCENARIO(shutdown_poller) = {
    .operation = "troupe_queue_shutdown",
    .state = "empty, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_shutdown)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .woken = 1,
    .prepare = join_family,
    .victim = victim_shutdown,
    .survivors = {survivor_shutdown, NULL},
    .check = check_put,
};

SCENARIO(close_poller) = {
    .operation = "troupe_queue_close",
    .state = "the only producer, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_close)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .late = 1,
    .woken = 1,
    .prepare = prepare_producer,
    .victim = victim_close,
    .check = check_put,
};

static void
victim_fileno(void)
{
    int fd;

    atomic_store(crash_word(WORD_STATUS),
                 troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd));
}

/* One who polls is dead; the others are told all the same. */
SCENARIO(fileno_first) = {
    .operation = "troupe_queue_fileno",
    .state = "empty, an epoll_wait sleeper",
    .covers = COVERS(FUNCTION(troupe_queue_fileno)),
    .setup = setup_empty,
    .peers = {peer_get_polls},
    .prepare = join_family,
    .victim = victim_fileno,
    .survivors = {survivor_put, NULL},
    .check = check_put,
};

/* ---- new, free, figures ---- */

static void
setup_none(void)
{
    troupe_queue *first;

    /* What a queue takes gets its slabs before the counting. */
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192));
    first = queue;
    CRASH_REQUIRE(troupe_queue_put(first, "x", 1, TROUPE_NOW) == 0,
                  CRASH_CORRUPTION, "put");
    troupe_queue_free(first);
    counted_heap();
}

static void
victim_new(void)
{
    troupe_queue *made = NULL;
    int status = troupe_queue_new(&made, TROUPE_OPTIONS(troupe_queue_options,
                                                        .max_bytes = 32768,
                                                        .small_bytes = 8192));

    atomic_store(crash_word(WORD_STATUS), status);
    atomic_store(crash_word(WORD_SECOND), (int64_t)(uintptr_t)made);
}

/* A queue that was made outlives its maker; one that was not leaves nothing. */
static void
check_new(void)
{
    settle();
    queue = (troupe_queue *)(uintptr_t)atomic_load(crash_word(WORD_SECOND));
    if (crash_completed()) {
        must_put(SURVIVOR);
        must_get();
    }
    troupe_queue_free(queue);
    /* Made, and its address lost with the victim: at most one queue's memory,
     * which is that of some 12 blocks. */
    counted_check(crash_completed() ? 0 : 16);
}

static void
survivor_make(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192));
    must_put(SURVIVOR + 7);
    must_get();
    troupe_queue_free(queue);
}

SCENARIO(new_first) = {
    .operation = "troupe_queue_new",
    .state = "warm",
    .covers = COVERS(FUNCTION(troupe_queue_new)),
    .setup = setup_none,
    .prepare = join_family,
    .victim = victim_new,
    .survivors = {survivor_make, NULL},
    .check = check_new,
};

static void
setup_old(void)
{
    setup_none();
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192));
    CRASH_REQUIRE(troupe_queue_put(queue, "x", 1, TROUPE_NOW) == 0,
                  CRASH_CORRUPTION, "put");
    atomic_store(crash_word(WORD_SECOND), (int64_t)(uintptr_t)queue);
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
    .operation = "troupe_queue_free",
    .state = "one item in it",
    .covers = COVERS(FUNCTION(troupe_queue_free)),
    .setup = setup_old,
    .prepare = join_family,
    .victim = victim_free,
    .check = check_free,
};

static void
victim_info(void)
{
    troupe_queue_info info = {.size = sizeof(info)};

    atomic_store(crash_word(WORD_STATUS), troupe_queue_info_get(queue, &info));
}

SCENARIO(info_three) = {
    .operation = "troupe_queue_info_get",
    .state = "three items",
    .covers = COVERS(FUNCTION(troupe_queue_info_get)),
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_info,
    .survivors = {survivor_put, survivor_get},
    .check = check_put,
};

/* ---- functions without kill points ---- */

static void
setup_leased(void)
{
    setup_three();
    prepare_leased();
}

static void
call_qsize(void)
{
    (void)troupe_queue_qsize(queue);
}

EXEMPT(qsize_reads) = {
    "troupe_queue_qsize", (void (*)(void))troupe_queue_qsize,
    setup_leased,         call_qsize,
    "loads words",
};

static void
call_empty(void)
{
    (void)troupe_queue_empty(queue);
}

EXEMPT(empty_reads) = {
    "troupe_queue_empty", (void (*)(void))troupe_queue_empty,
    setup_leased,         call_empty,
    "loads words",
};

static void
call_full(void)
{
    (void)troupe_queue_full(queue);
}

EXEMPT(full_reads) = {
    "troupe_queue_full", (void (*)(void))troupe_queue_full,
    setup_leased,        call_full,
    "loads words",
};
