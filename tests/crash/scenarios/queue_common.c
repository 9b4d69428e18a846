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

/* What one victim puts at one go comes in order to whoever gets some of it. */
static void
in_order(uint32_t number)
{
    static uint32_t last;

    if (number < VICTIM || number >= SECOND)
        return;
    CRASH_REQUIRE(number >= last, CRASH_CORRUPTION,
                  "item %u came after item %u", number, last);
    last = number;
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
    in_order(item->number);
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

static void
new_queue(const troupe_queue_options *options)
{
    int status = troupe_queue_new(&queue, options);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

void
count_heap(void)
{
    limited_heap();
    new_queue(TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE));
    CRASH_REQUIRE(troupe_queue_put(queue, "x", 1, TROUPE_NOW) == 0 &&
                      troupe_free(troupe_alloc(LARGE)) == 0,
                  CRASH_CORRUPTION, "the first queue");
    troupe_queue_free(queue);
    counted_heap();
}

void
make(const troupe_queue_options *options)
{
    count_heap();
    new_queue(options);
}

void
setup_empty(void)
{
    make(TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE));
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
    make(TROUPE_OPTIONS(troupe_queue_options, .max_items = 2, SMALL_QUEUE));
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
    make(TROUPE_OPTIONS(troupe_queue_options, SMALL_QUEUE,
                        .single_producer = true, .single_consumer = true));
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
prepare_second(void)
{
    join_family();
    atomic_store(crash_word(WORD_CAME), 1);
}

void
prepare_second_put(void)
{
    prepare_second();
    (void)item_fill(&ready, SECOND);
}

void
second_put(void)
{
    int status = put_ready(TROUPE_FOREVER);

    if (status != 0)
        crash_fail(CRASH_CORRUPTION, "the second victim's put: %s",
                   troupe_error_name(status));
}

/* The first may stand in the lock, and it may have got all. */
void
second_get(void)
{
    int status = get_ready(TROUPE_NOW);

    if (status != 0 && status != -EAGAIN)
        crash_fail(CRASH_CORRUPTION, "the second victim's get: %s",
                   troupe_error_name(status));
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

/* Room for two producers, if they have not found it. */
void
survivor_gets_two(void)
{
    settle();
    (void)get(TROUPE_NOW);
    (void)get(TROUPE_NOW);
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

void
survivor_shuts_down(void)
{
    CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                  "shutdown");
}

bool
nudge_shutdown(unsigned n)
{
    if (n > 0)
        return false;
    survivor_shuts_down();
    return true;
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
    CRASH_REQUIRE(status >= 0, CRASH_CORRUPTION, "get: %s",
                  troupe_error_name(status));
}

void
peer_get_polls_until_end(void)
{
    int epoll, status;

    join_family();
    epoll = epoll_of(TROUPE_QUEUE_GET);
    crash_ready();
    while ((status = get(TROUPE_NOW)) >= 0 || status == -EAGAIN)
        if (status == -EAGAIN)
            sleep_in(epoll);
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
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

void
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

/* A producer that sleeps before a full queue is refused then. */
void
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

void
peer_put_until_end(void)
{
    int status;

    join_family();
    crash_ready();
    status = put(FIRST + 5, PATIENCE);
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
                  troupe_error_name(status));
}

/* ---- a party that does nothing, and ends ---- */

enum { GATE_PARTY = CRASH_GATES - 5 };

static void
does_nothing(int status)
{
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "attach: %s",
                  troupe_error_name(status));
    crash_ready();
    crash_gate_wait(GATE_PARTY);
}

void
peer_consumes_nothing(void)
{
    does_nothing(troupe_queue_attach_consumer(queue));
}

void
peer_produces_nothing(void)
{
    does_nothing(troupe_queue_attach_producer(queue));
}

bool
nudge_party_dies(unsigned n)
{
    if (n > 0)
        return false;
    crash_kill_peer(0);
    return true;
}

/* Had nobody killed it before. */
void
survivor_ends_party(void)
{
    crash_gate_open(GATE_PARTY);
}

/* ---- a full heap ---- */

enum { WORD_FILLED = CRASH_WORDS - 2 };

void
fill_heap(size_t smallest)
{
    /* Of a large item, of a pollers' table, of a parties' table. */
    static const size_t sizes[] = {LARGE + 80, 1000, 192};
    _Atomic int64_t *first = crash_word(WORD_FILLED);
    int64_t *block;
    unsigned i;

    for (i = 0; i < 3 && sizes[i] >= smallest; i++)
        while ((block = troupe_alloc(sizes[i])) != NULL) {
            *block = atomic_load(first);
            atomic_store(first, (int64_t)(uintptr_t)block);
        }
}

void
empty_heap(void)
{
    _Atomic int64_t *first = crash_word(WORD_FILLED);
    int64_t *block;

    while ((block = (int64_t *)(uintptr_t)atomic_load(first)) != NULL) {
        atomic_store(first, *block);
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "a block cannot be freed");
    }
}

/* ---- checks ---- */

/* Of what the victim puts, nothing is there without what it put before: but
 * what somebody had in hand. */
static void
check_holes(unsigned hands)
{
    unsigned i, missing = 0, holes = 0;

    for (i = VICTIM; i < VICTIM + MANY; i++)
        if (crash_got_count(i) == 0)
            missing++;
        else
            holes = missing;
    if (holes > hands)
        crash_fail(CRASH_LOSS, "%u items are missing in front of others",
                   holes);
}

void
check(unsigned hands)
{
    troupe_queue_info info = {.size = sizeof(info)};
    int last = 0, number;

    if (crash_completed() && atomic_load(crash_word(WORD_STATUS)) != 0)
        crash_fail(
            CRASH_CORRUPTION, "the victim's call: %s",
            troupe_error_name((int)atomic_load(crash_word(WORD_STATUS))));
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
    if (info.lost > crash_missing_count())
        crash_fail(CRASH_DUPLICATE,
                   "the queue counts %lu lost items, %u are missing",
                   (unsigned long)info.lost, crash_missing_count());
    check_holes(hands);
    crash_check_items(hands);
    troupe_queue_free(queue);
    counted_check(0);
}

unsigned
second_died(void)
{
    return atomic_load(crash_word(WORD_CAME)) != 0 && !crash_second_completed();
}

void
check_put(void)
{
    check(0);
}

void
check_put_filled(void)
{
    empty_heap();
    check_put();
}

void
check_get(void)
{
    check(!crash_completed());
}

void
check_put_get(void)
{
    check(second_died());
}

void
check_get_get(void)
{
    check(!crash_completed() + second_died());
}
