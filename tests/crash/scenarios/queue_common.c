/* SPDX-License-Identifier: Apache-2.0 */
/* The queue: every item once, whole and in order, and nobody waits in vain. */
#include "queue_common.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

troupe_queue *queue;

/* ---- items: a number, and bytes that follow from it ---- */

size_t
item_size(uint32_t number)
{
    if (atomic_load(crash_word(WORD_LARGE)) != 0)
        return LARGE + number % 16;
    return sizeof(number) + 24 + number % 16;
}

size_t
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

int
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
int
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

void
must_put(uint32_t number)
{
    int status = put(number, PATIENCE);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "put of item %u: %s", number,
                  troupe_error_name(status));
}

void
must_get(void)
{
    int status = get(PATIENCE);

    CRASH_REQUIRE(status >= 0, CRASH_CORRUPTION, "get: %s",
                  troupe_error_name(status));
}

/* ---- setups ---- */

void
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

void
setup_empty(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192));
    count();
}

void
setup_large(void)
{
    atomic_store(crash_word(WORD_LARGE), 1);
    counted_class(LARGE + 80);
    setup_empty();
}

/* Room for two items. */
void
setup_two(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_items = 2,
                        .max_bytes = 32768, .small_bytes = 8192));
    count();
}

void
setup_full(void)
{
    setup_two();
    must_put(FIRST);
    must_put(FIRST + 1);
}

void
setup_three(void)
{
    setup_empty();
    must_put(FIRST);
    must_put(FIRST + 1);
    must_put(FIRST + 2);
}

void
setup_three_large(void)
{
    atomic_store(crash_word(WORD_LARGE), 1);
    counted_class(LARGE + 80);
    setup_three();
}

void
setup_single(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                        .small_bytes = 8192, .single_producer = true,
                        .single_consumer = true));
    count();
}

void
setup_single_three(void)
{
    setup_single();
    must_put(FIRST);
    must_put(FIRST + 1);
    must_put(FIRST + 2);
}

/* ---- victims ---- */

struct item ready;

int
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

void
looked_at(const struct item *item, size_t size)
{
    CRASH_REQUIRE(size >= sizeof(item->number) && item->number < CRASH_ITEMS &&
                      size == item_size(item->number) &&
                      item->bytes[0] == (unsigned char)(item->number * 31),
                  CRASH_CORRUPTION, "the victim got an item of %zu bytes",
                  size);
    crash_got(item->number);
}

int
get_ready(troupe_deadline deadline)
{
    size_t size = sizeof(ready);
    int status = troupe_queue_get(queue, &ready, &size, deadline);

    if (status == 0)
        looked_at(&ready, size);
    return status;
}

void
prepare_second_put(void)
{
    join_family();
    (void)item_fill(&ready, SECOND);
}

void
second_put(void)
{
    (void)put_ready(TROUPE_FOREVER);
}

void
second_get(void)
{
    (void)get_ready(TROUPE_NOW);
}

/* ---- survivors ---- */

void
survivor_put(void)
{
    must_put(SURVIVOR);
}

void
survivor_get(void)
{
    must_get();
}

void
survivor_put_get(void)
{
    must_put(SURVIVOR + 1);
    must_get();
}

/*
 * Only when nothing is there and nothing has come: a sleeper that was owed a
 * wake-up must come to the victim's item by itself.
 */
void
survivor_put_if_none(void)
{
    unsigned i, got = 0;

    for (i = VICTIM; i < VICTIM + 8; i++)
        got += crash_got_count(i);
    if (troupe_queue_qsize(queue) == 0 && got == 0)
        must_put(SURVIVOR);
}

/* Wakes one of two; the other is woken by the survivor's item. */
void
survivor_put_two(void)
{
    survivor_put_if_none();
    must_put(SURVIVOR + 3);
}

void
survivor_try(void)
{
    int status = put(SURVIVOR, TROUPE_NOW);

    CRASH_REQUIRE(status == 0 || status == -EAGAIN, CRASH_CORRUPTION,
                  "a try to put: %s", troupe_error_name(status));
    status = get(TROUPE_NOW);
    CRASH_REQUIRE(status >= 0 || status == -EAGAIN, CRASH_CORRUPTION,
                  "a try to get: %s", troupe_error_name(status));
}

/* Has the dead looked after, so that the figures are final. */
void
settle(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                  "no figures about the heap");
}

/* Only where the victim made no room: a sleeper that was owed a wake-up must
 * find the room by itself. */
void
survivor_get_if_full(void)
{
    troupe_queue_info info = {.size = sizeof(info)};

    settle();
    CRASH_REQUIRE(troupe_queue_info_get(queue, &info) == 0, CRASH_CORRUPTION,
                  "no figures about the queue");
    if (info.items == 2)
        (void)get(TROUPE_NOW);
}

/* One for each. */
bool
nudge_put_two(unsigned n)
{
    if (n > 0)
        return false;
    must_put(FIRST);
    must_put(FIRST + 1);
    return true;
}

/* Room for each. */
bool
nudge_get_two(unsigned n)
{
    if (n > 0)
        return false;
    must_get();
    must_get();
    return true;
}

/* Room for one more of many, as often as that is waited for. */
bool
nudge_get_many(unsigned n)
{
    if (n >= MANY)
        return false;
    must_get();
    return true;
}

/* ---- peers ---- */

void
peer_get_sleeps(void)
{
    join_family();
    crash_ready();
    must_get();
}

void
peer_put_sleeps(void)
{
    join_family();
    crash_ready();
    must_put(FIRST + 5);
}

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

void
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
put_polls(int expected)
{
    int epoll, status;

    join_family();
    epoll = epoll_of(TROUPE_QUEUE_PUT);
    crash_ready();
    while ((status = put(FIRST + 5, TROUPE_NOW)) == -EAGAIN)
        sleep_in(epoll);
    CRASH_REQUIRE(status == expected, CRASH_CORRUPTION, "put: %s",
                  troupe_error_name(status));
}

void
peer_put_polls(void)
{
    put_polls(0);
}

void
peer_put_polls_until_end(void)
{
    put_polls(-EPIPE);
}

void
peer_put_polls_refused(void)
{
    put_polls(-ESHUTDOWN);
}

/* ---- checks ---- */

/* Everything that is left, in order; then nothing is left in the heap. */
void
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
void
check_put(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) != 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
    check(0);
}

/* A consumer that dies inside may take one item with it. */
void
check_get(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) < 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
    check(crash_completed() ? 0 : 1);
}

void
check_pair_put(void)
{
    check(0);
}

void
check_pair_get(void)
{
    check(2);
}

void
check_pair_get_put(void)
{
    check(1);
}
