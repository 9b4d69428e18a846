/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: the victim is a parent.  Whenever it dies, nothing of it stays in
 * the family, its daemons die with it, and queues learn of producers that never
 * came to be.
 */
#include "common.h"

#include <troupe/lock.h>
#include <troupe/log.h>
#include <troupe/process.h>
#include <troupe/queue.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static troupe_process *child;
static troupe_queue *queue;

enum {
    WORD_STATUS,
    WORD_RAN,
    WORD_TOLD,
    WORD_PID,
    WORD_CODE,
    GATE_CHILD = 6,
    GATE_PARENT,
    NO_GATE
};

/* What a target returns that is not stopped: no code that stands anywhere by
 * itself. */
enum { CODE = 7 };

static int
target_returns(void *arg)
{
    (void)arg;
    atomic_fetch_add(crash_word(WORD_RAN), 1);
    return CODE;
}

static int
target_sleeps(void *arg)
{
    (void)arg;
    atomic_fetch_add(crash_word(WORD_RAN), 1);
    for (;;)
        pause();
    return 0;
}

/* Ends by itself when it is asked to. */
static int
target_stoppable(void *arg)
{
    size_t size = 0;
    int status = troupe_stoppable_begin();

    (void)arg;
    if (status == 0)
        status = troupe_queue_get(queue, NULL, &size, TROUPE_FOREVER);
    return status == -ECANCELED ? CODE : 0;
}

static void
setup(void)
{
    limited_heap();
    counted_heap();
}

static void
new_queue(troupe_queue **ret_queue, unsigned items)
{
    int status = troupe_queue_new(
        ret_queue, TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 32768,
                                  .small_bytes = 8192, .max_items = items));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

static void
setup_queue(void)
{
    limited_heap();
    new_queue(&queue, 0);
    counted_heap();
}

/* When all processes of the victim have ended, the root is alone again. */
static void
check(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    do {
        CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                      "no figures about the heap");
        sched_yield();
    } while (info.members != 1);
    counted_check(0);
}

static void
check_status(void)
{
    int status = (int)atomic_load(crash_word(WORD_STATUS));

    if (crash_completed() && status != 0)
        crash_fail(CRASH_CORRUPTION, "the victim's call: %s",
                   troupe_error_name(status));
    check();
}

/* A start that returned has begun the target. */
static void
check_ran(void)
{
    long ran;

    check_status();
    ran = (long)atomic_load(crash_word(WORD_RAN));
    if (ran > 1)
        crash_fail(CRASH_DUPLICATE, "the target ran %ld times", ran);
    else if (crash_completed() && ran != 1)
        crash_fail(CRASH_LOSS, "the target never ran");
}

static void
survive(void)
{
    use_heap();
}

static void
make(int (*target)(void *), bool daemon)
{
    int status = troupe_process_new(
        &child, TROUPE_OPTIONS(troupe_process_options, .target = target,
                               .daemon = daemon));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

static void
start(int (*target)(void *), bool daemon)
{
    int status;

    make(target, daemon);
    status = troupe_process_start(child);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "start: %s",
                  troupe_error_name(status));
    atomic_store(crash_word(WORD_PID), troupe_process_pid(child));
}

/* ---- start ---- */

static void
prepare_new(void)
{
    join_family();
    make(target_returns, false);
}

static void
prepare_daemon(void)
{
    join_family();
    make(target_sleeps, true);
}

static void
victim_start(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_process_start(child));
}

SCENARIO(start_child) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a child that returns",
    .setup = setup,
    .prepare = prepare_new,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_ran,
};

/* It would never end by itself. */
SCENARIO(start_daemon) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a daemon that sleeps",
    .setup = setup,
    .prepare = prepare_daemon,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

static void
make_producer(int (*target)(void *))
{
    int status = troupe_process_new(
        &child, TROUPE_OPTIONS(troupe_process_options, .target = target,
                               .produces = &queue, .produces_count = 1));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

static void
prepare_producer(void)
{
    join_family();
    make_producer(target_returns);
}

static void
peer_waits_for_end(void)
{
    size_t size = 0;
    int status;

    join_family();
    crash_ready();
    status = troupe_queue_get(queue, NULL, &size, PATIENCE);
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
                  troupe_error_name(status));
}

/* Where the child was not declared yet, the stream ends by this one. */
static void
survivor_produces(void)
{
    int status = troupe_queue_attach_producer(queue);

    CRASH_REQUIRE(status == 0 || status == -EPIPE, CRASH_CORRUPTION,
                  "attach: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_queue_close(queue) == 0, CRASH_CORRUPTION, "close");
}

SCENARIO(start_producer) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a declared producer, a sleeping consumer",
    .setup = setup_queue,
    .peers = {peer_waits_for_end},
    .prepare = prepare_producer,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_produces, NULL},
    .check = check_status,
};

/* A second queue that takes no producers: the first must not miss one. */
static troupe_queue *refusing;

static void
setup_refusing(void)
{
    limited_heap();
    new_queue(&queue, 0);
    new_queue(&refusing, 0);
    CRASH_REQUIRE(troupe_queue_shutdown(refusing) == 0, CRASH_CORRUPTION,
                  "shutdown");
    counted_heap();
}

static void
prepare_refused(void)
{
    troupe_queue *both[2] = {queue, refusing};
    int status;

    join_family();
    status = troupe_process_new(
        &child, TROUPE_OPTIONS(troupe_process_options, .target = target_returns,
                               .produces = both, .produces_count = 2));
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

static void
victim_start_refused(void)
{
    int status = troupe_process_start(child);

    atomic_store(crash_word(WORD_STATUS),
                 status == -ESHUTDOWN ? 0 : -EINPROGRESS);
}

/* Nobody has ended the stream but a child that was declared and is dead. */
static void
survivor_produces_first(void)
{
    int status = troupe_queue_attach_producer(queue);

    CRASH_REQUIRE(status == 0 || (status == -EPIPE && !crash_completed()),
                  CRASH_CORRUPTION, "attach: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_queue_close(queue) == 0, CRASH_CORRUPTION, "close");
}

static void
check_never_ran(void)
{
    check_status();
    if (atomic_load(crash_word(WORD_RAN)) != 0)
        crash_fail(CRASH_CORRUPTION, "the child of a failed start ran");
}

SCENARIO(start_refused) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a second queue refuses, a sleeping consumer of the first",
    .setup = setup_refusing,
    .peers = {peer_waits_for_end},
    .prepare = prepare_refused,
    .victim = victim_start_refused,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_produces_first, NULL},
    .check = check_never_ran,
};

static void
setup_one_item(void)
{
    limited_heap();
    new_queue(&queue, 1);
    counted_heap();
}

static void
prepare_consumer(void)
{
    int status;

    join_family();
    status = troupe_process_new(
        &child, TROUPE_OPTIONS(troupe_process_options, .target = target_returns,
                               .consumes = &queue, .consumes_count = 1));
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
}

static void
peer_puts_until_end(void)
{
    int item = 1, status;

    CRASH_REQUIRE(troupe_queue_put(queue, &item, sizeof(item), TROUPE_NOW) == 0,
                  CRASH_CORRUPTION, "put");
    crash_ready();
    status = troupe_queue_put(queue, &item, sizeof(item), PATIENCE);
    CRASH_REQUIRE(status == -EPIPE, CRASH_CORRUPTION, "the end: %s",
                  troupe_error_name(status));
}

/* As survivor_produces(). */
static void
survivor_consumes(void)
{
    int status = troupe_queue_attach_consumer(queue);

    CRASH_REQUIRE(status == 0 || status == -EPIPE, CRASH_CORRUPTION,
                  "attach: %s", troupe_error_name(status));
    CRASH_REQUIRE(troupe_queue_close(queue) == 0, CRASH_CORRUPTION, "close");
}

SCENARIO(start_consumer) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a declared consumer, full, a sleeping producer",
    .setup = setup_one_item,
    .peers = {peer_puts_until_end},
    .prepare = prepare_consumer,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .survivors = {survivor_consumes, NULL},
    .check = check_status,
};

/* ---- start, the child's side ---- */

/*
 * The child of a peer dies, from the first instruction after the fork to the
 * first of its target. Its parent sees how it ended, and goes on.
 */
static bool fork_is_stepped; /* in a parent, and in what it forks */
static bool fork_is_held;    /* in a parent */
static bool gate_stays_closed;

static bool child_is_held; /* in what is forked */

static void
child_begins(void)
{
    if (fork_is_stepped)
        crash_step_begin_far();
    if (child_is_held)
        crash_gate_wait(GATE_CHILD);
}

/* Between the fork and the pidfd. */
static void
parent_goes_on(void)
{
    if (fork_is_held)
        crash_gate_wait(GATE_PARENT);
}

/* Before the library's own handlers: those of the child are stepped too. */
static void
watch_forks(void)
{
    CRASH_REQUIRE(pthread_atfork(NULL, parent_goes_on, child_begins) == 0,
                  CRASH_CORRUPTION, "atfork");
}

static void
setup_forks(void)
{
    watch_forks();
    setup();
}

static void
setup_held(void)
{
    gate_stays_closed = true;
    setup_forks();
}

static void
setup_queue_forks(void)
{
    watch_forks();
    setup_queue();
}

static void
setup_queue_held(void)
{
    gate_stays_closed = true;
    setup_queue_forks();
}

static int
target_begins(void *arg)
{
    (void)arg;
    crash_step_end();
    return CODE;
}

/* One that ends by itself returns 0. */
static void
check_code(void)
{
    int code = (int)atomic_load(crash_word(WORD_CODE));

    if (code != -SIGKILL && !(crash_completed() && code == 0))
        crash_fail(CRASH_CORRUPTION, "the child's code: %d", code);
    check();
}

/* Whatever the child was at, its parent learns of its end. */
static void
start_and_await(unsigned gate)
{
    int code = CODE, status;

    fork_is_held = gate_stays_closed;
    crash_ready();
    status = troupe_process_start(child);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "start: %s",
                  troupe_error_name(status));
    if (gate != NO_GATE)
        crash_gate_wait(gate);
    status = troupe_process_join(child, PATIENCE);
    CRASH_REQUIRE(status == 0, CRASH_HANG, "join: %s",
                  troupe_error_name(status));
    status = troupe_process_exitcode(child, &code);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "exitcode: %s",
                  troupe_error_name(status));
    atomic_store(crash_word(WORD_CODE), code);
    CRASH_REQUIRE(troupe_process_close(child) == 0, CRASH_CORRUPTION, "close");
}

static void
peer_starts(void)
{
    make(target_begins, false);
    fork_is_stepped = true;
    start_and_await(NO_GATE);
}

static void
peer_starts_daemon(void)
{
    make(target_begins, true);
    fork_is_stepped = true;
    start_and_await(NO_GATE);
}

/* Does not look at its child before the consumer has seen the end. */
static void
peer_starts_producer(void)
{
    make_producer(target_begins);
    fork_is_stepped = true;
    start_and_await(GATE_CHILD);
}

static void
peer_sees_end(void)
{
    peer_waits_for_end();
    crash_gate_open(GATE_CHILD);
}

static void
let_parent_go(void)
{
    crash_gate_open(GATE_PARENT);
}

/* A sleep has a bound, and the parent may take longer than it. */
static bool
nudge_parent(unsigned n)
{
    if (n == 0)
        let_parent_go();
    return n < 16;
}

SCENARIO(child_begins_open) = {
    .operation = "troupe_process_start",
    .state = "the child dies, its gate is open",
    .setup = setup_forks,
    .peers = {peer_starts},
    .adopt = crash_adopt_far,
    .survivors = {survive, NULL},
    .check = check_code,
};

SCENARIO(child_begins_closed) = {
    .operation = "troupe_process_start",
    .state = "the child dies, it sleeps at its gate",
    .setup = setup_held,
    .peers = {peer_starts},
    .adopt = crash_adopt_far,
    .nudge = nudge_parent,
    .survivors = {let_parent_go, survive},
    .check = check_code,
};

SCENARIO(daemon_begins_closed) = {
    .operation = "troupe_process_start",
    .state = "a daemon dies, it sleeps at its gate",
    .setup = setup_held,
    .peers = {peer_starts_daemon},
    .adopt = crash_adopt_far,
    .nudge = nudge_parent,
    .survivors = {let_parent_go, survive},
    .check = check_code,
};

/* Nobody else produces, or looks: its death alone is the end of the stream. */
SCENARIO(producer_begins_open) = {
    .operation = "troupe_process_start",
    .state = "a declared producer dies, its gate is open",
    .setup = setup_queue_forks,
    .peers = {peer_sees_end, peer_starts_producer},
    .adopt = crash_adopt_far,
    .survivors = {survive, NULL},
    .check = check_code,
};

SCENARIO(producer_begins_closed) = {
    .operation = "troupe_process_start",
    .state = "a declared producer dies, it sleeps at its gate",
    .setup = setup_queue_held,
    .peers = {peer_sees_end, peer_starts_producer},
    .adopt = crash_adopt_far,
    .nudge = nudge_parent,
    .survivors = {let_parent_go, survive},
    .check = check_code,
};

/* ---- start, both sides ---- */

static void
prepare_pair(bool daemon)
{
    join_family();
    make(target_begins, daemon);
    fork_is_stepped = true;
}

static void
prepare_child_pair(void)
{
    prepare_pair(false);
}

static void
prepare_daemon_pair(void)
{
    prepare_pair(true);
}

static void
prepare_producer_pair(void)
{
    join_family();
    make_producer(target_begins);
    fork_is_stepped = true;
}

SCENARIO(start_pair) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "the child dies after its parent, or with it",
    .setup = setup_forks,
    .prepare = prepare_child_pair,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .second_adopt = crash_adopt_far,
    .second_nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

SCENARIO(start_daemon_pair) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "the daemon dies after its parent, or with it",
    .setup = setup_forks,
    .prepare = prepare_daemon_pair,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .second_adopt = crash_adopt_far,
    .second_nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_status,
};

SCENARIO(start_producer_pair) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "the producer dies after its parent, or with it",
    .setup = setup_queue_forks,
    .peers = {peer_waits_for_end},
    .prepare = prepare_producer_pair,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .second_adopt = crash_adopt_far,
    .second_nudge = crash_sleeps_end,
    .survivors = {survivor_produces, NULL},
    .check = check_status,
};

/* ---- the end of a child, and who waits for it ---- */

static int
target_returns_stepped(void *arg)
{
    (void)arg;
    crash_step_begin_far();
    return 0;
}

static void
peer_starts_stepped(void)
{
    make(target_returns_stepped, false);
    start_and_await(NO_GATE);
}

/* From the end of its target on. */
SCENARIO(child_ends) = {
    .operation = "troupe_exit",
    .state = "a started child returns",
    .setup = setup,
    .peers = {peer_starts_stepped},
    .adopt = crash_adopt_far,
    .exits = true,
    .survivors = {survive, NULL},
    .check = check_code,
};

/* ---- what reaps a child ---- */

/* A child that has ended and was not looked at since. */
static void
prepare_ended(void)
{
    struct pollfd end = {.events = POLLIN};

    join_family();
    start(target_returns, false);
    CRASH_REQUIRE(troupe_process_sentinel(child, &end.fd) == 0,
                  CRASH_CORRUPTION, "sentinel");
    while (poll(&end, 1, -1) != 1) {
    }
}

/* A start looks after one that has ended before. */
static void
prepare_another(void)
{
    prepare_ended();
    atomic_store(crash_word(WORD_RAN), 0);
    make(target_returns, false);
}

SCENARIO(start_after_end) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "an earlier child has ended",
    .setup = setup,
    .prepare = prepare_another,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check_ran,
};

#define OF_ENDED(id, symbol, call)   \
 SCENARIO(id) = {                    \
     .function = {FUNCTION(symbol)}, \
     .state = "the child has ended", \
     .setup = setup,                 \
     .prepare = prepare_ended,       \
     .victim = (call),               \
     .survivors = {survive, NULL},   \
     .check = check_status,          \
 }

/* The target notes its end. */
static void
victim_join(void)
{
    int status = troupe_process_join(child, TROUPE_FOREVER);

    if (status == 0 && atomic_load(crash_word(WORD_RAN)) != 1)
        status = -EINPROGRESS;
    atomic_store(crash_word(WORD_STATUS), status);
}

OF_ENDED(join_ended, troupe_process_join, victim_join);

/* Its end, and its parent's wait for it. */
static void
prepare_join_pair(void)
{
    join_family();
    start(target_returns_stepped, false);
}

SCENARIO(join_pair) = {
    .function = {FUNCTION(troupe_process_join)},
    .state = "the child dies after its parent, or with it",
    .setup = setup,
    .prepare = prepare_join_pair,
    .victim = victim_join,
    .blocks = true,
    .second_adopt = crash_adopt_far,
    .survivors = {survive, NULL},
    .check = check,
};

static int
target_waits(void *arg)
{
    (void)arg;
    crash_gate_wait(GATE_CHILD);
    atomic_fetch_add(crash_word(WORD_RAN), 1);
    return CODE;
}

static void
prepare_running(void)
{
    join_family();
    start(target_waits, false);
}

static bool
nudge_child(unsigned n)
{
    if (n == 0)
        crash_gate_open(GATE_CHILD);
    return n < 8;
}

static void
let_child_end(void)
{
    crash_gate_open(GATE_CHILD);
}

SCENARIO(join_running) = {
    .function = {FUNCTION(troupe_process_join)},
    .state = "the child runs, sleeps, the child ends",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_join,
    .nudge = nudge_child,
    .survivors = {let_child_end, NULL},
    .check = check_status,
};

static void
victim_join_late(void)
{
    int status = troupe_process_join(child, troupe_after(0.2));

    if (status == -ETIMEDOUT && troupe_process_is_alive(child))
        status = 0;
    else if (status >= 0)
        status = -EINPROGRESS;
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(join_late) = {
    .function = {FUNCTION(troupe_process_join)},
    .state = "the child runs, the deadline passes",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_join_late,
    .nudge = crash_sleeps_end,
    .survivors = {let_child_end, survive},
    .check = check_status,
};

static void
prepare_stopped_by_join(void)
{
    int status;

    join_family();
    status = troupe_process_new(
        &child, TROUPE_OPTIONS(troupe_process_options,
                               .target = target_stoppable, .join_stops = true));
    if (status == 0)
        status = troupe_process_start(child);
    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "start: %s",
                  troupe_error_name(status));
}

static void
victim_join_stops(void)
{
    int code = 0;
    int status = troupe_process_join(child, TROUPE_FOREVER);

    if (status == 0)
        status = troupe_process_exitcode(child, &code);
    if (status == 0 && code != CODE)
        status = -EINPROGRESS;
    atomic_store(crash_word(WORD_STATUS), status);
}

static void
shut_queue(void)
{
    CRASH_REQUIRE(troupe_queue_shutdown(queue) == 0, CRASH_CORRUPTION,
                  "shutdown");
}

SCENARIO(join_stops) = {
    .function = {FUNCTION(troupe_process_join)},
    .state = "it asks the child to stop, which ends",
    .setup = setup_queue,
    .prepare = prepare_stopped_by_join,
    .victim = victim_join_stops,
    .nudge = crash_sleeps_end,
    .survivors = {shut_queue, survive},
    .check = check_status,
};

/* A child that waits for its parent, a peer. */
static int
target_joins_parent(void *arg)
{
    troupe_process *parent = troupe_process_parent();
    int status;

    (void)arg;
    crash_step_begin_far();
    status = troupe_process_join(parent, TROUPE_FOREVER);
    if (status == 0 && troupe_process_is_alive(parent))
        status = -EINPROGRESS;
    atomic_store(crash_word(WORD_STATUS), status);
    crash_step_end();
    return 0;
}

static void
peer_is_joined(void)
{
    join_family();
    crash_ready();
    start(target_joins_parent, false);
    crash_gate_wait(GATE_PARENT);
}

SCENARIO(join_parent) = {
    .function = {FUNCTION(troupe_process_join)},
    .state = "the parent's handle, sleeps, the parent ends",
    .setup = setup,
    .peers = {peer_is_joined},
    .adopt = crash_adopt_far,
    .nudge = nudge_parent,
    .survivors = {let_parent_go, survive},
    .check = check_status,
};

static void
victim_is_alive(void)
{
    atomic_store(crash_word(WORD_STATUS), troupe_process_is_alive(child));
}

OF_ENDED(is_alive_ended, troupe_process_is_alive, victim_is_alive);

static void
victim_state(void)
{
    atomic_store(crash_word(WORD_STATUS),
                 troupe_process_state(child) != TROUPE_PROCESS_STOPPED);
}

OF_ENDED(state_ended, troupe_process_state, victim_state);

static void
victim_exitcode(void)
{
    int code = -1;
    int status = troupe_process_exitcode(child, &code);

    atomic_store(crash_word(WORD_STATUS), status != 0 ? status : code - CODE);
}

OF_ENDED(exitcode_ended, troupe_process_exitcode, victim_exitcode);

static void
victim_format(void)
{
    char text[200];

    (void)troupe_process_format(child, text, sizeof(text));
    atomic_store(crash_word(WORD_STATUS),
                 strstr(text, "stopped exitcode=7>") == NULL);
}

OF_ENDED(format_ended, troupe_process_format, victim_format);

static void
victim_close(void)
{
    int status = troupe_process_close(child);

    if (status == 0 && troupe_process_state(child) != TROUPE_PROCESS_CLOSED)
        status = -EBUSY;
    atomic_store(crash_word(WORD_STATUS), status);
}

OF_ENDED(close_ended, troupe_process_close, victim_close);

static void
victim_active(void)
{
    troupe_process **children = NULL;
    size_t count = 9;
    int status = troupe_process_active_children(&children, &count);

    troupe_process_list_free(children);
    atomic_store(crash_word(WORD_STATUS), status != 0 ? status : (int)count);
}

OF_ENDED(active_ended, troupe_process_active_children, victim_active);

/* ---- what ends a child ---- */

/* It ends by what it is told: it has no parent any more that takes it along. */
static void
settle(int status, int wanted)
{
    int code = 0;

    if (status == 0) {
        atomic_store(crash_word(WORD_TOLD), 1);
        status = troupe_process_join(child, TROUPE_FOREVER);
    }
    if (status == 0)
        status = troupe_process_exitcode(child, &code);
    if (status == 0 && code != wanted)
        status = -EINPROGRESS;
    atomic_store(crash_word(WORD_STATUS), status);
}

/* Who was told ends without this; all others may end now, too. */
static void
end_untold(void)
{
    if (atomic_load(crash_word(WORD_TOLD)) == 0)
        crash_gate_open(GATE_CHILD);
}

static void
check_told(void)
{
    check_status();
    if (atomic_load(crash_word(WORD_TOLD)) != 0 &&
        atomic_load(crash_word(WORD_RAN)) != 0)
        crash_fail(CRASH_CORRUPTION, "the child went on");
}

static void
victim_terminate(void)
{
    settle(troupe_process_terminate(child), -SIGTERM);
}

SCENARIO(terminate_running) = {
    .function = {FUNCTION(troupe_process_terminate)},
    .state = "the child sleeps, and join",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_terminate,
    .nudge = crash_sleeps_end,
    .survivors = {end_untold, survive},
    .check = check_told,
};

static void
victim_kill(void)
{
    settle(troupe_process_kill(child), -SIGKILL);
}

SCENARIO(kill_running) = {
    .function = {FUNCTION(troupe_process_kill)},
    .state = "the child sleeps, and join",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_kill,
    .nudge = crash_sleeps_end,
    .survivors = {end_untold, survive},
    .check = check_told,
};

static void
prepare_stoppable(void)
{
    join_family();
    start(target_stoppable, false);
}

static void
victim_stop(void)
{
    settle(troupe_process_stop(child), CODE);
}

static void
shut_untold(void)
{
    if (atomic_load(crash_word(WORD_TOLD)) == 0)
        shut_queue();
}

SCENARIO(stop_stoppable) = {
    .function = {FUNCTION(troupe_process_stop)},
    .state = "the child waits in a section, and join",
    .setup = setup_queue,
    .prepare = prepare_stoppable,
    .victim = victim_stop,
    .nudge = crash_sleeps_end,
    .survivors = {shut_untold, survive},
    .check = check_status,
};

/* ---- exit ---- */

static void
prepare_sleeping_daemon(void)
{
    join_family();
    start(target_sleeps, true);
}

static void
victim_exit(void)
{
    troupe_exit(0);
}

SCENARIO(exit_daemon) = {
    .function = {FUNCTION(troupe_exit)},
    .state = "a daemon sleeps",
    .setup = setup,
    .prepare = prepare_sleeping_daemon,
    .victim = victim_exit,
    .exits = true,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check,
};

/* Who exits waits for its child. */
static void
look_behind_exit(void)
{
    if (crash_completed() && atomic_load(crash_word(WORD_RAN)) != 1)
        crash_fail(CRASH_CORRUPTION, "the exit left a child behind");
    let_child_end();
}

SCENARIO(exit_running) = {
    .function = {FUNCTION(troupe_exit)},
    .state = "a child runs, sleeps, the child ends",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_exit,
    .exits = true,
    .nudge = nudge_child,
    .survivors = {look_behind_exit, survive},
    .check = check,
};

/* What the process has is given up before it waits for its child, which ends
 * only when a peer was given that. */
static troupe_lock *held;

static void
setup_lock(void)
{
    limited_heap();
    held = family_memory(sizeof(*held));
    counted_heap();
}

static void
prepare_holder(void)
{
    prepare_running();
    CRASH_REQUIRE(troupe_lock_acquire(held, TROUPE_NOW) == 0, CRASH_CORRUPTION,
                  "a free lock");
}

static void
peer_acquires(void)
{
    int status;

    join_family();
    crash_ready();
    status = troupe_lock_acquire(held, PATIENCE);
    CRASH_REQUIRE(status == TROUPE_OWNER_DIED, CRASH_CORRUPTION,
                  "the lock of who exits: %s", troupe_error_name(status));
    let_child_end();
}

SCENARIO(exit_holding) = {
    .function = {FUNCTION(troupe_exit)},
    .state = "it holds a lock, another sleeps, then its child ends",
    .setup = setup_lock,
    .peers = {peer_acquires},
    .late = 1,
    .prepare = prepare_holder,
    .victim = victim_exit,
    .exits = true,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check,
};

static void
prepare_last_producer(void)
{
    prepare_running();
    CRASH_REQUIRE(troupe_queue_attach_producer(queue) == 0, CRASH_CORRUPTION,
                  "attach");
}

SCENARIO(exit_producing) = {
    .function = {FUNCTION(troupe_exit)},
    .state = "the last producer, a consumer sleeps, then its child ends",
    .setup = setup_queue,
    .peers = {peer_sees_end},
    .late = 1,
    .prepare = prepare_last_producer,
    .victim = victim_exit,
    .exits = true,
    .nudge = crash_sleeps_end,
    .survivors = {survive, NULL},
    .check = check,
};

/* ---- a second victim, which clears up ---- */

/*
 * The child meanwhile stands where it is, or has ended: it is told to by the
 * first victim or by the gate, and then waited for.
 */
static void
await_told(void)
{
    struct pollfd end = {.events = POLLIN};

    if (atomic_load(crash_word(WORD_TOLD)) == 0 &&
        !crash_gate_is_open(GATE_CHILD))
        return;
    end.fd = (int)syscall(SYS_pidfd_open,
                          (pid_t)atomic_load(crash_word(WORD_PID)), 0);
    while (end.fd >= 0 && poll(&end, 1, -1) != 1) {
    }
}

static void
second_settles(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    (void)troupe_heap_info_get(&info);
}

/* The child comes to its gate only when all who die have died. */
static void
prepare_late_child(void)
{
    prepare_new();
    child_is_held = true;
}

SCENARIO(start_two) = {
    .function = {FUNCTION(troupe_process_start)},
    .state = "a child that comes late, a second victim clears up too",
    .setup = setup_forks,
    .prepare = prepare_late_child,
    .victim = victim_start,
    .nudge = crash_sleeps_end,
    .second = second_settles,
    .survivors = {let_child_end, survive},
    .check = check_ran,
};

/* All that ends a child, of which the last does: it is deaf to the others. */
static void
prepare_deaf(void)
{
    (void)signal(SIGTERM, SIG_IGN);
    prepare_running();
}

static void
victim_ends_child(void)
{
    int status = troupe_process_stop(child);

    if (status == 0)
        status = troupe_process_terminate(child);
    if (status == 0)
        status = troupe_process_kill(child);
    settle(status, -SIGKILL);
}

SCENARIO(end_two) = {
    .operation = "stop, terminate, kill, join",
    .covers = COVERS(FUNCTION(troupe_process_stop),
                     FUNCTION(troupe_process_terminate),
                     FUNCTION(troupe_process_kill),
                     FUNCTION(troupe_process_join)),
    .state = "the child sleeps, a second victim clears up too",
    .setup = setup,
    .prepare = prepare_deaf,
    .victim = victim_ends_child,
    .nudge = crash_sleeps_end,
    .second_prepare = await_told,
    .second = second_settles,
    .firsts = 12,
    .survivors = {end_untold, survive},
    .check = check_told,
};

SCENARIO(exit_two) = {
    .function = {FUNCTION(troupe_exit)},
    .state = "a child runs, then ends, a second victim clears up too",
    .setup = setup,
    .prepare = prepare_running,
    .victim = victim_exit,
    .exits = true,
    .nudge = nudge_child,
    .second_prepare = await_told,
    .second = second_settles,
    .firsts = 12,
    .survivors = {look_behind_exit, survive},
    .check = check,
};

/* ---- the process itself ---- */

/* The name of a process is what the obituary of a lock says of the dead. */
static const char name_before[] = "a name to be read";
static const char name_after[] = "another of as many";

static void
set_name(const char *name)
{
    int status = troupe_process_set_name(troupe_process_current(), name);

    atomic_store(crash_word(WORD_STATUS), status);
}

static void
prepare_named(void)
{
    join_family();
    set_name(name_before);
    CRASH_REQUIRE(troupe_lock_acquire(held, TROUPE_NOW) == 0, CRASH_CORRUPTION,
                  "a free lock");
}

static void
victim_set_name(void)
{
    set_name(name_after);
}

/* All of one name, or of neither. */
static void
survivor_reads_name(void)
{
    troupe_obituary dead;

    CRASH_REQUIRE(troupe_lock_acquire(held, PATIENCE) == TROUPE_OWNER_DIED &&
                      troupe_lock_obituary(held, &dead) == 0,
                  CRASH_CORRUPTION, "no obituary");
    if (strcmp(dead.name, name_after) != 0 &&
        (crash_completed() ||
         (strcmp(dead.name, name_before) != 0 && dead.name[0] != '\0')))
        crash_fail(CRASH_CORRUPTION, "the dead one is called '%.31s'",
                   dead.name);
}

SCENARIO(set_name_current) = {
    .function = {FUNCTION(troupe_process_set_name)},
    .state = "of the caller itself, which holds a lock",
    .setup = setup_lock,
    .prepare = prepare_named,
    .victim = victim_set_name,
    .survivors = {survivor_reads_name, survive},
    .check = check_status,
};

static void
victim_section(void)
{
    int status = troupe_stoppable_begin();

    if (status == 0)
        troupe_stoppable_end();
    atomic_store(crash_word(WORD_STATUS), status);
}

SCENARIO(section_cold) = {
    .function = {FUNCTION(troupe_stoppable_begin)},
    .state = "the first call of its process",
    .setup = setup,
    .victim = victim_section,
    .survivors = {survive, NULL},
    .check = check_status,
};

/* A child of the root that has been asked to stop before it begins. */
static int
target_section(void *arg)
{
    size_t size = 0;
    int status;

    (void)arg;
    crash_gate_wait(GATE_CHILD);
    crash_step_begin();
    status = troupe_stoppable_begin();
    if (status == 0)
        status = troupe_queue_get(queue, NULL, &size, TROUPE_FOREVER);
    atomic_store(crash_word(WORD_STATUS), status == -ECANCELED ? 0 : status);
    crash_step_end();
    return 0;
}

static int
adopt_section(void)
{
    int pid;

    start(target_section, false);
    pid = troupe_process_pid(child);
    CRASH_REQUIRE(troupe_process_stop(child) == 0, CRASH_CORRUPTION, "stop");
    crash_gate_open(GATE_CHILD);
    return pid;
}

static void
check_section(void)
{
    CRASH_REQUIRE(troupe_process_join(child, PATIENCE) == 0 &&
                      troupe_process_close(child) == 0,
                  CRASH_CORRUPTION, "the child has not ended");
    check_status();
}

SCENARIO(section_stopped) = {
    .function = {FUNCTION(troupe_stoppable_begin)},
    .state = "asked to stop, a get ends",
    .setup = setup_queue,
    .adopt = adopt_section,
    .check = check_section,
};

/* ---- functions without kill points ---- */

static void
setup_exempt(void)
{
    limited_heap();
    join_family();
}

static void
prepare_section(void)
{
    CRASH_REQUIRE(troupe_stoppable_begin() == 0, CRASH_CORRUPTION, "begin");
}

static void
setup_section(void)
{
    setup_exempt();
    crash_exempt_prepare(prepare_section);
}

static void
call_stoppable_end(void)
{
    troupe_stoppable_end();
}

EXEMPT(exempt_stoppable_end) = {
    "troupe_stoppable_end", (void (*)(void))troupe_stoppable_end, setup_section,
    call_stoppable_end,     "memory of the calling thread",
};

static void
nothing(void *arg)
{
    (void)arg;
}

static void
call_finalizers(void)
{
    uint64_t finalizer = 0;

    (void)troupe_finalizer_add(nothing, NULL, 0, &finalizer);
    (void)troupe_finalizer_call(finalizer);
    (void)troupe_finalizer_add(nothing, NULL, 0, &finalizer);
    (void)troupe_finalizer_cancel(finalizer);
}

EXEMPT(exempt_finalizer_add) = {
    "troupe_finalizer_add", (void (*)(void))troupe_finalizer_add, setup_exempt,
    call_finalizers,        "a list in private memory",
};

EXEMPT(exempt_finalizer_call) = {
    "troupe_finalizer_call",
    (void (*)(void))troupe_finalizer_call,
    setup_exempt,
    call_finalizers,
    "a list in private memory",
};

EXEMPT(exempt_finalizer_cancel) = {
    "troupe_finalizer_cancel",
    (void (*)(void))troupe_finalizer_cancel,
    setup_exempt,
    call_finalizers,
    "a list in private memory",
};

static void
take_line(int level, const char *process, const char *message, void *context)
{
    (void)level;
    (void)process;
    (void)message;
    (void)context;
}

static void
call_log(void)
{
    int level = troupe_log_get_level();

    troupe_log_to_stderr(TROUPE_LOG_ERROR);
    troupe_log_set_handler(take_line, NULL);
    troupe_log_set_level(TROUPE_LOG_INFO);
    if (troupe_log_enabled(TROUPE_LOG_INFO))
        troupe_log(TROUPE_LOG_INFO, "%d", level);
}

#define LOG_FUNCTION(symbol)                                                 \
 EXEMPT(exempt_##symbol) = {#symbol, (void (*)(void))(symbol), setup_exempt, \
                            call_log, "private memory and the handler"}

LOG_FUNCTION(troupe_log);
LOG_FUNCTION(troupe_log_enabled);
LOG_FUNCTION(troupe_log_get_level);
LOG_FUNCTION(troupe_log_set_handler);
LOG_FUNCTION(troupe_log_set_level);
LOG_FUNCTION(troupe_log_to_stderr);

/* Of a child that runs, of one that has ended, and of one yet to be. */
static troupe_process *ended;
static troupe_process **listed;

static void
prepare_handles(void)
{
    join_family();
    start(target_returns, false);
    CRASH_REQUIRE(troupe_process_join(child, PATIENCE) == 0, CRASH_CORRUPTION,
                  "join");
    ended = child;
    start(target_sleeps, true);
    /* On its way it changes what is shared. */
    while (atomic_load(crash_word(WORD_RAN)) != 2)
        sched_yield();
    CRASH_REQUIRE(troupe_process_active_children(&listed, NULL) == 0 &&
                      listed[0] != NULL,
                  CRASH_CORRUPTION, "no children");
}

static void
setup_handles(void)
{
    setup_exempt();
    crash_exempt_prepare(prepare_handles);
}

static void
call_with(troupe_process *p)
{
    int fd;

    (void)troupe_process_set_daemon(p, true);
    (void)troupe_process_daemon(p);
    (void)troupe_process_set_user(p, p);
    (void)troupe_process_user(p);
    (void)troupe_process_name(p);
    (void)troupe_process_pid(p);
    (void)troupe_process_sentinel(p, &fd);
}

static void
call_handles(void)
{
    troupe_process *p = NULL;

    if (troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .target = target_returns)) != 0)
        return;
    call_with(p);
    call_with(child);
    call_with(ended);
    (void)troupe_process_current();
    (void)troupe_process_parent();
    (void)troupe_stop_requested();
    troupe_process_list_free(listed);
    troupe_process_free(p);
    troupe_process_free(ended);
    troupe_process_free(child);
}

#define HANDLE_FUNCTION(symbol, why)                                          \
 EXEMPT(exempt_##symbol) = {#symbol, (void (*)(void))(symbol), setup_handles, \
                            call_handles, why}

HANDLE_FUNCTION(troupe_process_new, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_set_daemon, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_daemon, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_set_user, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_user, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_name, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_pid, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_sentinel, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_current, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_parent, "the handle is private memory");
HANDLE_FUNCTION(troupe_stop_requested, "loads one word");
HANDLE_FUNCTION(troupe_process_free, "the handle is private memory");
HANDLE_FUNCTION(troupe_process_list_free, "the list is private memory");
