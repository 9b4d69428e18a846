/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue that others change, or whose user dies, between two instructions.
 */
#include "harness.h"

#include "heap/member.h"
#include "ipc/queue.h"
#include "os/fault.h"

#include <troupe.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static troupe_queue *queue;

static int
get_now(void)
{
    unsigned char byte;
    size_t size = 1;

    return troupe_queue_get(queue, &byte, &size, TROUPE_NOW);
}

static int
put_now(void)
{
    return troupe_queue_put(queue, "x", 1, TROUPE_NOW);
}

static int end_seen;

static void
end_before_the_commit(const volatile void *address)
{
    if (address != &queue->put.tail)
        return;
    troupe__shim_atomic_hook = NULL;
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    end_seen = get_now();
}

static int told[2];
static int answer[2];

/* Another thread of the producer's leaves, and a consumer sees the end. */
static void
leave_before_the_commit(const volatile void *address)
{
    if (address != &queue->put.tail)
        return;
    troupe__shim_atomic_hook = NULL;
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_EQ(write(told[1], "", 1), 1);
    CHECK_EQ(read(answer[0], &end_seen, sizeof(end_seen)),
             (ssize_t)sizeof(end_seen));
}

TEST(queue_single_producer_leaves_before_the_commit)
{
    troupe_queue_options options = {.size = sizeof(options),
                                    .single_producer = true};
    char byte;
    pid_t pid;
    int status;

    CHECK_RC(troupe_queue_new(&queue, &options), 0);
    CHECK_RC(troupe_queue_attach_producer(queue), 0);
    CHECK_EQ(pipe(told), 0);
    CHECK_EQ(pipe(answer), 0);
    pid = fork();
    if (pid == 0) {
        CHECK_EQ(read(told[0], &byte, 1), 1);
        end_seen = get_now();
        CHECK_EQ(write(answer[1], &end_seen, sizeof(end_seen)),
                 (ssize_t)sizeof(end_seen));
        CHECK_RC(get_now(), -EPIPE);
        _exit(0);
    }
    troupe__shim_atomic_hook = leave_before_the_commit;
    status = put_now();
    troupe__shim_atomic_hook = NULL;
    CHECK_RC(end_seen, -EPIPE);
    CHECK_RC(status, -ESHUTDOWN);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(troupe_queue_qsize(queue), 0);
    troupe_queue_free(queue);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(close(told[i]), 0);
        CHECK_EQ(close(answer[i]), 0);
    }
}

/* As if the system had other things to do. */
static void
take_long(const volatile void *address)
{
    int64_t until = troupe_clock() + 100000;

    (void)address;
    while (troupe_clock() < until) {
    }
}

TEST(queue_waits_to_its_deadline_for_a_producer_that_starts)
{
    struct troupe__birth birth;
    troupe_deadline deadline;
    unsigned char byte;
    size_t size = 1;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe__member_prepare("starting", 0, &birth), 0);
    CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, birth.member), 0);
    troupe__shim_atomic_hook = take_long;
    deadline = troupe_after(0.2);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    troupe__shim_atomic_hook = NULL;
    troupe__queue_undeclare(queue, TROUPE_QUEUE_PUT, birth.member);
    troupe__member_ended(birth.member);
    troupe_queue_free(queue);
}

TEST(queue_shutdown_before_the_commit_of_a_single_producer)
{
    troupe_queue_options options = {.size = sizeof(options),
                                    .single_producer = true};
    static unsigned char large[10000];
    void *reserved;
    size_t count;
    int status;
    int way;

    for (way = 0; way < 3; way++) {
        struct iovec item = {large, 100};

        CHECK_RC(troupe_queue_new(&queue, &options), 0);
        CHECK_RC(put_now(), 0);
        CHECK_RC(get_now(), 0);
        CHECK_RC(troupe_queue_reserve(queue, sizeof(large), &reserved), 0);
        end_seen = 0;
        troupe__shim_atomic_hook = end_before_the_commit;
        if (way == 0)
            status = put_now();
        else if (way == 1)
            status = troupe_queue_put_many(queue, &item, 1, &count, TROUPE_NOW);
        else
            status =
                troupe_queue_commit(queue, reserved, sizeof(large), TROUPE_NOW);
        troupe__shim_atomic_hook = NULL;
        CHECK_RC(end_seen, -EPIPE);
        CHECK_RC(status, -ESHUTDOWN);
        CHECK_EQ(troupe_queue_qsize(queue), 0);
        CHECK_RC(get_now(), -EPIPE);
        CHECK_RC(put_now(), -ESHUTDOWN);
        /* Still the caller's. */
        CHECK_RC(troupe_queue_cancel(queue, reserved), 0);
        troupe_queue_free(queue);
    }
}

static void
use_before_the_total(const volatile void *address)
{
    unsigned i;

    if (address != &queue->put.total)
        return;
    troupe__shim_atomic_hook = NULL;
    for (i = 0; i < 5; i++)
        CHECK_RC(put_now(), 0);
    CHECK_RC(get_now(), -EAGAIN); /* the side is held, to count it */
}

TEST(queue_counts_puts_while_it_is_used)
{
    troupe_queue_options options = {.size = sizeof(options), .max_items = 6};
    troupe_queue_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_queue_new(&queue, &options), 0);
    CHECK_RC(put_now(), 0);
    CHECK_RC(get_now(), 0);
    troupe__shim_atomic_hook = use_before_the_total;
    CHECK_RC(troupe_queue_info_get(queue, &info), 0);
    troupe__shim_atomic_hook = NULL;
    CHECK_GE(info.puts, 1);
    CHECK_LE(info.puts, 6);
    CHECK_EQ(info.items, info.puts - 1);
    CHECK_EQ(info.gets, 1);
    troupe_queue_free(queue);
}

static unsigned atomics_left;

static void
die_later(const volatile void *address)
{
    (void)address;
    if (atomics_left-- == 0)
        (void)kill(getpid(), SIGKILL);
}

static uint64_t
used_bytes(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_heap_info_get(&info), 0);
    return info.committed - info.free_bytes;
}

/* Frees a queue in a process that is killed at one atomic operation after the
 * other, and once not at all. */
static void
free_killed_everywhere(void)
{
    struct troupe__member_ref member = {1, 0};
    unsigned at;
    int status;

    for (at = 0, status = -1; status != 0; at++) {
        pid_t pid;

        CHECK_RC(troupe_queue_new(&queue, NULL), 0);
        /* Parties for several tables. */
        for (member.generation = 1000; member.generation < 1060;
             member.generation++)
            CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, member), 0);
        pid = fork();
        if (pid == 0) {
            CHECK_RC(troupe_free(troupe_alloc(8)), 0);
            atomics_left = at;
            troupe__shim_atomic_hook = die_later;
            troupe_queue_free(queue);
            troupe__shim_atomic_hook = NULL;
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        (void)troupe__slots_recover();
        /* Killed before it had begun. */
        troupe_queue_free(queue);
    }
    CHECK_GE(at, 20);
}

TEST(queue_free_killed_anywhere_leaves_nothing)
{
    uint64_t before;

    free_killed_everywhere(); /* fills the caches */
    before = used_bytes();
    free_killed_everywhere();
    CHECK_EQ(used_bytes(), before);
}

static const volatile void *own_wait;

/* At one of the steps with which a waiter says that it waits, and that it does
 * so no more. */
static void
die_at_step(const volatile void *address)
{
    if ((address == &queue->side[TROUPE_QUEUE_GET].event.sleepers ||
         address == own_wait) &&
        atomics_left-- == 0)
        (void)kill(getpid(), SIGKILL);
}

/* Whatever a waiter dies at, the others stay counted: who signals relies on
 * that to leave the mark for them. */
TEST(queue_counts_waiters_never_too_low)
{
    const uint32_t *sleepers;
    pid_t pids[2];
    unsigned at;
    unsigned i;
    int status = -1;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    sleepers = &queue->side[TROUPE_QUEUE_GET].event.sleepers;
    for (i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            unsigned char byte;
            size_t size = 1;

            CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), 0);
            _exit(0);
        }
    }
    while (troupe__load_acquire(sleepers) < 2)
        (void)usleep(100);
    for (at = 0; status != 0; at++) {
        uint32_t before = troupe__load_acquire(sleepers);
        pid_t pid = fork();

        if (pid == 0) {
            unsigned char byte;
            size_t size = 1;

            CHECK_RC(get_now(), -EAGAIN); /* joins */
            own_wait = &troupe__thread_self->slot->wait_kind;
            atomics_left = at;
            troupe__shim_atomic_hook = die_at_step;
            CHECK_RC(troupe_queue_get(queue, &byte, &size, troupe_after(0.001)),
                     -ETIMEDOUT);
            troupe__shim_atomic_hook = NULL;
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        (void)troupe__slots_recover();
        CHECK_GE(troupe__load_acquire(sleepers), before);
    }
    CHECK_GE(at, 4);
    for (i = 0; i < 2; i++)
        CHECK_RC(put_now(), 0);
    for (i = 0; i < 2; i++)
        CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
    troupe_queue_free(queue);
}

static const volatile void *stop_address;

static void
stop_there(const volatile void *address)
{
    if (address != stop_address)
        return;
    troupe__shim_atomic_hook = NULL;
    (void)kill(getpid(), SIGSTOP);
}

/* A process that is stopped while it holds one of the queue's locks: at a place
 * that a call arrives at under it. */
static pid_t
stopped_inside(const volatile void *address, int (*call)(void))
{
    pid_t pid = fork();
    int status;

    CHECK_GE(pid, 0);
    if (pid == 0) {
        CHECK_RC(troupe_free(troupe_alloc(8)), 0);
        stop_address = address;
        troupe__shim_atomic_hook = stop_there;
        CHECK_RC(call(), 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    return pid;
}

static void
go_on(pid_t pid)
{
    int status;

    CHECK_EQ(kill(pid, SIGCONT), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static int
attach_now(void)
{
    return troupe_queue_attach_producer(queue);
}

static int
nothing(void *arg)
{
    (void)arg;
    return 0;
}

TEST(queue_calls_end_with_a_stop_while_a_peer_is_stopped_inside)
{
    troupe_process *process;
    struct iovec item = {&stop_address, 1};
    unsigned char byte;
    size_t count;
    size_t size = 1;
    void *reserved;
    void *leased;
    void *data;
    pid_t pid;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe_process_new(&process, TROUPE_OPTIONS(troupe_process_options,
                                                         .target = nothing,
                                                         .produces = &queue,
                                                         .produces_count = 1)),
             0);
    CHECK_RC(put_now(), 0);
    CHECK_RC(put_now(), 0);
    CHECK_RC(put_now(), 0);
    CHECK_RC(troupe_queue_peek(queue, &leased, &size, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_reserve(queue, 1, &reserved), 0);
    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_process_stop(troupe_process_current()), 0);

    pid = stopped_inside(&queue->put.tail, put_now);
    CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_FOREVER), -ECANCELED);
    CHECK_RC(troupe_queue_put_many(queue, &item, 1, &count, TROUPE_FOREVER),
             -ECANCELED);
    CHECK_RC(troupe_queue_commit(queue, reserved, 1, TROUPE_FOREVER),
             -ECANCELED);
    CHECK_RC(put_now(), -EAGAIN);
    go_on(pid);
    CHECK_RC(troupe_queue_commit(queue, reserved, 1, TROUPE_FOREVER), 0);

    pid = stopped_inside(&queue->get.cursor, get_now);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -ECANCELED);
    CHECK_RC(troupe_queue_get_many(queue, &item, 1, &count, TROUPE_FOREVER),
             -ECANCELED);
    CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_FOREVER),
             -ECANCELED);
    CHECK_RC(troupe_queue_release(queue, leased), -ECANCELED);
    CHECK_RC(get_now(), -EAGAIN);
    go_on(pid);
    CHECK_RC(troupe_queue_release(queue, leased), 0);

    pid = stopped_inside(&queue->flags, attach_now);
    CHECK_RC(troupe_queue_attach_producer(queue), -ECANCELED);
    CHECK_RC(troupe_queue_attach_consumer(queue), -ECANCELED);
    CHECK_RC(troupe_queue_close(queue), -ECANCELED);
    CHECK_RC(troupe_process_start(process), -ECANCELED);
    go_on(pid);
    CHECK_RC(troupe_queue_close(queue), 0);

    troupe_stoppable_end();
    troupe_process_free(process);
    troupe_queue_free(queue);
}

static void *
put_until_closed(void *arg)
{
    (void)arg;
    CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_FOREVER), -ESHUTDOWN);
    return NULL;
}

static void *
get_until_closed(void *arg)
{
    unsigned char byte;
    size_t size = 1;

    (void)arg;
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -ESHUTDOWN);
    return NULL;
}

TEST(queue_calls_end_with_a_close_while_a_peer_is_stopped_inside)
{
    pthread_t threads[2];
    pid_t putter;
    pid_t getter;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(put_now(), 0);
    CHECK_RC(put_now(), 0);
    putter = stopped_inside(&queue->put.tail, put_now);
    getter = stopped_inside(&queue->get.head, get_now);
    CHECK_EQ(pthread_create(&threads[0], NULL, put_until_closed, NULL), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, get_until_closed, NULL), 0);
    /* Both have found the lock held. */
    while ((troupe__load_acquire(&queue->put.lock.word) & TROUPE__WAITERS) ==
               0 ||
           (troupe__load_acquire(&queue->get.lock.word) & TROUPE__WAITERS) == 0)
        (void)usleep(100);
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    go_on(putter);
    go_on(getter);
    troupe_queue_free(queue);
}

static void
die_there(const volatile void *address)
{
    if (address == stop_address)
        (void)kill(getpid(), SIGKILL);
}

/* What others lease or have taken is not there to get, whatever has been
 * repaired meanwhile. */
TEST(queue_counts_what_is_there_after_a_death)
{
    void *leased;
    size_t size;
    pid_t pid;
    unsigned i;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    for (i = 0; i < 3; i++)
        CHECK_RC(put_now(), 0);
    CHECK_RC(troupe_queue_peek(queue, &leased, &size, TROUPE_NOW), 0);
    CHECK_RC(get_now(), 0);
    CHECK_RC(get_now(), 0);
    CHECK(troupe_queue_empty(queue));
    /* One that dies in a get, with the lock. */
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_free(troupe_alloc(8)), 0);
        stop_address = &queue->get.seen;
        troupe__shim_atomic_hook = die_there;
        FAIL("the get returned %d", get_now());
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_GT(troupe__slots_recover(), 0);
    CHECK_EQ(troupe_queue_qsize(queue), 0);
    CHECK(troupe_queue_empty(queue));
    /* One that dies with a lease. */
    CHECK_RC(put_now(), 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_peek(queue, &leased, &size, TROUPE_NOW), 0);
        CHECK(troupe_queue_empty(queue));
        (void)kill(getpid(), SIGKILL);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_GT(troupe__slots_recover(), 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    CHECK_RC(get_now(), 0);
    CHECK(troupe_queue_empty(queue));
    CHECK_RC(troupe_queue_release(queue, leased), 0);
    CHECK(troupe_queue_empty(queue));
    CHECK_RC(get_now(), -EAGAIN);
    troupe_queue_free(queue);
}
