/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of a queue: who asks for one, in which state of their table, and
 * what becomes of them when the queue is freed. */
#include "crowd.h"
#include "queue_common.h"

#include <errno.h>
#include <poll.h>

static int
fileno_of(int side)
{
    int fd, status = troupe_queue_fileno(queue, side, &fd);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "fileno: %s",
                  troupe_error_name(status));
    return fd;
}

/* It begins readable, whatever is there. */
static void
victim_fileno(void)
{
    struct pollfd wait = {.events = POLLIN};
    int status = troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &wait.fd);

    if (status == 0 && poll(&wait, 1, 0) != 1)
        status = -EPROTO;
    atomic_store(crash_word(WORD_STATUS), status);
}

/* Who polls next finds the table that the dead one made, or makes it. */
SCENARIO(fileno_nobody) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "empty, nobody polls yet",
    .setup = setup_empty,
    .prepare = join_family,
    .victim = victim_fileno,
    .survivors = {peer_get_polls, survivor_put},
    .check = check_put,
};

SCENARIO(fileno_there) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "three items, nobody polls yet",
    .setup = setup_three,
    .prepare = join_family,
    .victim = victim_fileno,
    .survivors = {peer_get_polls, NULL},
    .check = check_put,
};

SCENARIO(fileno_cold) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "empty, the first call of its process",
    .setup = setup_empty,
    .victim = victim_fileno,
    .survivors = {peer_get_polls, survivor_put},
    .check = check_put,
};

/* As many as a table has cells. */
enum { POLLERS = 36 };

static void
polls_get(void)
{
    (void)fileno_of(TROUPE_QUEUE_GET);
}

static void
setup_crowd(void)
{
    setup_empty();
    crowd_begin(POLLERS, polls_get);
}

/* The descriptor that it has already spares it to watch the crowd now. */
static void
prepare_polls_put(void)
{
    (void)fileno_of(TROUPE_QUEUE_PUT);
}

static void
check_crowd(void)
{
    crowd_end();
    check_put();
}

SCENARIO(fileno_crowd) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "empty, the table of the pollers is full",
    .setup = setup_crowd,
    .prepare = prepare_polls_put,
    .victim = victim_fileno,
    .survivors = {peer_get_polls, survivor_put},
    .check = check_crowd,
};

static void
second_fileno(void)
{
    int fd, status = troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd);

    if (status != 0)
        crash_fail(CRASH_CORRUPTION, "the second victim's fileno: %s",
                   troupe_error_name(status));
}

static void
prepare_second_polls_put(void)
{
    prepare_second();
    prepare_polls_put();
}

/* Both make a table. */
SCENARIO(fileno_two) = {
    .function = {FUNCTION(troupe_queue_fileno)},
    .state = "nobody polls yet, a second victim does",
    .setup = setup_empty,
    .prepare = prepare_polls_put,
    .victim = victim_fileno,
    .second_prepare = prepare_second_polls_put,
    .second = second_fileno,
    .survivors = {peer_get_polls, survivor_put},
    .check = check_put,
};

/* ---- a queue that goes while descriptors of it are there ---- */

enum { GATE_FREED };

/* Its descriptor goes when it asks for another. */
static void
peer_has_polled(void)
{
    (void)fileno_of(TROUPE_QUEUE_GET);
    crash_ready();
    crash_gate_wait(GATE_FREED);
    CRASH_REQUIRE(troupe_queue_new(&queue, TROUPE_OPTIONS(troupe_queue_options,
                                                          SMALL_QUEUE)) == 0,
                  CRASH_CORRUPTION, "new");
    (void)fileno_of(TROUPE_QUEUE_GET);
    troupe_queue_free(queue);
}

static void
prepare_polls_both(void)
{
    (void)fileno_of(TROUPE_QUEUE_GET);
    (void)fileno_of(TROUPE_QUEUE_PUT);
}

static void
victim_free(void)
{
    troupe_queue_free(queue);
}

static void
survivor_opens(void)
{
    crash_gate_open(GATE_FREED);
}

/* Free again what is none any more: nothing happens. */
static void
check_free(void)
{
    settle();
    troupe_queue_free(queue);
    counted_check(0);
}

SCENARIO(free_polled) = {
    .function = {FUNCTION(troupe_queue_free)},
    .state = "three items, the victim and another have polled",
    .setup = setup_three,
    .peers = {peer_has_polled},
    .prepare = prepare_polls_both,
    .victim = victim_free,
    .survivors = {survivor_opens, NULL},
    .check = check_free,
};

static void
check_free_crowd(void)
{
    crowd_end();
    check_free();
}

SCENARIO(free_crowd) = {
    .function = {FUNCTION(troupe_queue_free)},
    .state = "polled, with two tables of pollers",
    .setup = setup_crowd,
    .prepare = prepare_polls_both,
    .victim = victim_free,
    .check = check_free_crowd,
};
