/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues between processes: who waits is woken, who dies is noticed, what the
 * dead held comes back.
 */
#include "harness.h"

#include "heap/member.h"
#include "ipc/queue.h"

#include <troupe.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static troupe_queue *
queue_of(const troupe_queue_options *options)
{
    troupe_queue *queue = NULL;

    CHECK_RC(troupe_queue_new(&queue, options), 0);
    return queue;
}

#define QUEUE(...) queue_of(TROUPE_OPTIONS(troupe_queue_options, __VA_ARGS__))

static void
reap(pid_t pid, int signal)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (signal != 0) {
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), signal);
    } else {
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
    }
}

static void
die(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

static void
put_number(troupe_queue *queue, unsigned number)
{
    CHECK_RC(troupe_queue_put(queue, &number, sizeof(number), TROUPE_FOREVER),
             0);
}

static unsigned
get_number(troupe_queue *queue)
{
    unsigned number = 0;
    size_t size = sizeof(number);

    CHECK_RC(troupe_queue_get(queue, &number, &size, TROUPE_FOREVER), 0);
    CHECK_EQ(size, sizeof(number));
    return number;
}

static troupe_queue_info
info_of(troupe_queue *queue)
{
    troupe_queue_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_queue_info_get(queue, &info), 0);
    return info;
}

/* What the processes of a test tell each other besides. */
struct shared {
    troupe_event ready;
    troupe_event go;
    uint64_t sum;
};

static struct shared *
shared_new(void)
{
    struct shared *shared = troupe_calloc(1, sizeof(*shared));

    CHECK(shared != NULL);
    return shared;
}

/* Whether some thread of the family sleeps for this kind of thing. */
static bool
somebody_waits(const void *object, uint32_t kind)
{
    uint32_t high = troupe__family.heap->slots_high;
    uint32_t i;

    for (i = 0; i < high; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);

        if (troupe__load_acquire(&slot->wait_kind) == kind &&
            troupe__load_relaxed(&slot->wait_object) ==
                troupe__family_offset(object))
            return true;
    }
    return false;
}

static void
await_waiter(const void *object, uint32_t kind)
{
    while (!somebody_waits(object, kind))
        (void)usleep(100);
}

/* Whoever takes a dead waiter's slot over counts it out, too. */
TEST(queue_forgets_waiters_whose_slots_others_take)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned i;

    for (i = 0; i < 3; i++) {
        pid_t pid = fork();

        CHECK_GE(pid, 0);
        if (pid == 0) {
            (void)get_number(queue);
            _exit(1);
        }
        await_waiter(queue, TROUPE__KIND_QUEUE_ITEMS);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        pid = fork();
        CHECK_GE(pid, 0);
        if (pid == 0) {
            CHECK_RC(troupe_free(troupe_alloc(16)), 0);
            _exit(0);
        }
        reap(pid, 0);
    }
    CHECK_EQ(queue->side[TROUPE_QUEUE_GET].event.sleepers, 0u);
    troupe_queue_free(queue);
}

/* Several producers, several consumers: everything arrives once, and what one
 * producer put arrives at one consumer in its order. */
static void
many_to_many(const troupe_queue_options *options, unsigned producers,
             unsigned consumers, unsigned each, size_t most)
{
    troupe_queue *queue = queue_of(options);
    struct shared *shared = shared_new();
    pid_t pids[32];
    unsigned count = 0;
    unsigned i;
    uint64_t expected = 0;

    for (i = 0; i < producers; i++) {
        pids[count] = fork();
        CHECK_GE(pids[count], 0);
        if (pids[count++] == 0) {
            unsigned char *data = malloc(most);
            unsigned k;

            CHECK(data != NULL);
            for (k = 0; k < each; k++) {
                size_t size = 8 + (k * 7919u + i) % (most - 7);
                unsigned head[2] = {i, k};

                memset(data, (int)(k & 0xff), size);
                memcpy(data, head, sizeof(head));
                CHECK_RC(troupe_queue_put(queue, data, size, TROUPE_FOREVER),
                         0);
            }
            free(data);
            _exit(0);
        }
    }
    for (i = 0; i < consumers; i++) {
        pids[count] = fork();
        CHECK_GE(pids[count], 0);
        if (pids[count++] == 0) {
            unsigned char *data = malloc(most);
            unsigned next[32] = {0};
            int status;

            CHECK(data != NULL);
            for (;;) {
                unsigned head[2];
                size_t size = most;
                size_t j;

                status = troupe_queue_get(queue, data, &size, TROUPE_FOREVER);
                if (status < 0)
                    break;
                memcpy(head, data, sizeof(head));
                CHECK_LT(head[0], producers);
                CHECK_GE(head[1], next[head[0]]);
                next[head[0]] = head[1] + 1;
                CHECK_EQ(size, 8 + (head[1] * 7919u + head[0]) % (most - 7));
                for (j = 8; j < size; j++)
                    if (data[j] != (unsigned char)(head[1] & 0xff))
                        FAIL("message %u of %u is torn at %zu", head[1],
                             head[0], j);
                (void)__atomic_fetch_add(&shared->sum,
                                         head[0] * 1000000u + head[1] + 1,
                                         __ATOMIC_RELAXED);
            }
            CHECK_RC(status, -EPIPE);
            free(data);
            _exit(0);
        }
    }
    for (i = 0; i < producers; i++) {
        unsigned k;

        reap(pids[i], 0);
        for (k = 0; k < each; k++)
            expected += i * 1000000u + k + 1;
    }
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    for (i = producers; i < count; i++)
        reap(pids[i], 0);
    CHECK_EQ(shared->sum, expected);
    CHECK_EQ(info_of(queue).puts, (uint64_t)producers * each);
    CHECK_EQ(info_of(queue).items, 0);
    CHECK_EQ(info_of(queue).bytes, 0);
    CHECK_EQ(info_of(queue).lost, 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_carries_from_one_to_one)
{
    many_to_many(NULL, 1, 1, 20000, 100);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .single_producer = true,
                                .single_consumer = true),
                 1, 1, 20000, 100);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 1), 1, 1,
                 2000, 100);
}

TEST(queue_carries_from_many_to_many)
{
    many_to_many(NULL, 4, 4, 4000, 100);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 3), 3, 3,
                 1000, 100);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .single_consumer = true),
                 4, 1, 3000, 100);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .single_producer = true),
                 1, 4, 3000, 100);
}

TEST(queue_carries_large_messages_between_many)
{
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 200000), 3,
                 3, 300, 60000);
}

/* One word of each page tells which it is, so does the last byte. */
static void
write_pages(unsigned char *data, size_t size)
{
    size_t at;

    for (at = 0; at + sizeof(at) <= size; at += 4096)
        memcpy(data + at, &at, sizeof(at));
    data[size - 1] = 77;
}

static void
check_pages(const unsigned char *data, size_t size)
{
    size_t at;
    size_t found;

    for (at = 0; at + sizeof(at) <= size; at += 4096) {
        memcpy(&found, data + at, sizeof(found));
        if (found != at)
            FAIL("the page at %zu says %zu", at, found);
    }
    CHECK_EQ(data[size - 1], 77);
}

/* A GiB; less where a sanitizer looks at each byte. */
#ifdef HARNESS_ASAN
# define LARGEST_MIB 128
#else
# define LARGEST_MIB 1024
#endif

TEST_TIMEOUT(queue_carries_a_message_of_the_largest_kind, 300)
{
    troupe_queue *queue = QUEUE(.max_bytes = UINT64_C(2) << 30);
    size_t whole = ((size_t)LARGEST_MIB << 20) - 5;
    size_t half = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2 * 4096;
    size_t size = half < whole ? half : whole;
    uint64_t used;
    void *data;
    size_t got;
    pid_t pid;

    CHECK_RC(troupe_queue_reserve(queue, (size_t)2 << 30, &data), -EMSGSIZE);
    CHECK_RC(troupe_queue_reserve(queue, size, &data), 0);
    write_pages(data, size);
    CHECK_RC(troupe_queue_commit(queue, data, size, TROUPE_NOW), 0);
    put_number(queue, 1);
    used = info_of(queue).bytes;
    CHECK_EQ(used, TROUPE_QUEUE_STORED(size) + TROUPE_QUEUE_STORED(4));
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_peek(queue, &data, &got, TROUPE_NOW), 0);
        CHECK_EQ(got, size);
        check_pages(data, size);
        die();
    }
    reap(pid, SIGKILL);
    /* It is there again, at the same place and whole. */
    (void)troupe__slots_recover();
    got = sizeof(pid);
    CHECK_RC(troupe_queue_get(queue, &pid, &got, TROUPE_NOW), -EMSGSIZE);
    CHECK_EQ(got, size);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_peek(queue, &data, &got, TROUPE_NOW), 0);
        CHECK_EQ(troupe_queue_attempts(queue, data), 1);
        CHECK_EQ(got, size);
        check_pages(data, size);
        CHECK_RC(troupe_queue_release(queue, data), 0);
        _exit(0);
    }
    reap(pid, 0);
    CHECK_EQ(get_number(queue), 1);
    CHECK_EQ(info_of(queue).bytes, 0);
    troupe_queue_free(queue);
    if (size < whole)
        SKIP("with %zu MiB only, half of the memory that is free", size >> 20);
}

TEST(queue_get_waits_for_a_put)
{
    troupe_queue *queue = queue_of(NULL);
    pid_t pid = fork();

    if (pid == 0) {
        CHECK_EQ(get_number(queue), 42);
        _exit(0);
    }
    await_waiter(queue, TROUPE__KIND_QUEUE_ITEMS);
    put_number(queue, 42);
    reap(pid, 0);
    troupe_queue_free(queue);
}

TEST(queue_put_waits_for_room)
{
    troupe_queue *queue = QUEUE(.max_items = 1);
    pid_t pid;

    put_number(queue, 1);
    pid = fork();
    if (pid == 0) {
        put_number(queue, 2);
        _exit(0);
    }
    await_waiter(queue, TROUPE__KIND_QUEUE_ROOM);
    CHECK_EQ(get_number(queue), 1);
    CHECK_EQ(get_number(queue), 2);
    reap(pid, 0);
    troupe_queue_free(queue);
}

TEST(queue_made_by_an_exited_process_lives_on)
{
    troupe_queue **made = troupe_calloc(1, sizeof(*made));
    pid_t pid;

    CHECK(made != NULL);
    pid = fork();
    if (pid == 0) {
        *made = queue_of(NULL);
        put_number(*made, 5);
        die();
    }
    reap(pid, SIGKILL);
    put_number(*made, 6);
    CHECK_EQ(get_number(*made), 5);
    CHECK_EQ(get_number(*made), 6);
    troupe_queue_free(*made);
    CHECK_RC(troupe_free(made), 0);
}

TEST(queue_wakes_all_at_shutdown)
{
    troupe_queue *queue = queue_of(NULL);
    pid_t pids[4];
    unsigned i;

    for (i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            unsigned char byte;
            size_t size = 1;

            CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER),
                     -EPIPE);
            _exit(0);
        }
    }
    await_waiter(queue, TROUPE__KIND_QUEUE_ITEMS);
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    for (i = 0; i < 4; i++)
        reap(pids[i], 0);
    troupe_queue_free(queue);
}

/* A lessee that dies: the message comes back, in its place, to who waits. */
static void
redeliver(size_t size, bool single)
{
    static unsigned char data[20000];
    troupe_queue *queue = QUEUE(.single_consumer = single);
    struct shared *shared = shared_new();
    void *leased;
    size_t got;
    pid_t pid;

    memset(data, 7, sizeof(data));
    CHECK_RC(troupe_queue_put(queue, data, size, TROUPE_NOW), 0);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_peek(queue, &leased, &got, TROUPE_NOW), 0);
        CHECK_RC(troupe_event_set(&shared->ready), 0);
        CHECK_RC(troupe_event_wait(&shared->go, TROUPE_FOREVER), 0);
        die();
    }
    CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
    if (!single) {
        put_number(queue, 1);
        CHECK_EQ(get_number(queue), 1);
        CHECK_RC(troupe_queue_peek(queue, &leased, &got, TROUPE_NOW), -EAGAIN);
    }
    CHECK_RC(troupe_event_set(&shared->go), 0);
    if (single)
        reap(pid, SIGKILL);
    CHECK_RC(troupe_queue_peek(queue, &leased, &got, TROUPE_FOREVER), 0);
    CHECK_EQ(got, size);
    CHECK_MEM(leased, data, size);
    CHECK_EQ(troupe_queue_attempts(queue, leased), 1);
    CHECK_EQ(info_of(queue).redelivered, 1);
    CHECK_RC(troupe_queue_release(queue, leased), 0);
    if (!single)
        reap(pid, SIGKILL);
    CHECK_EQ(info_of(queue).items, 0);
    CHECK_EQ(info_of(queue).lost, 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_gives_a_dead_lessees_message_to_the_next)
{
    redeliver(100, false);
    redeliver(20000, false);
    redeliver(100, true);
    redeliver(20000, true);
}

/* At the end of the stream the others wait for what one still leases. */
static void
end_with_a_lease(bool dies)
{
    troupe_queue *queue = queue_of(NULL);
    struct shared *shared = shared_new();
    unsigned number = 0;
    size_t got = sizeof(number);
    void *leased;
    pid_t pid;

    put_number(queue, 7);
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_peek(queue, &leased, &got, TROUPE_NOW), 0);
        /* Its own is nothing to wait for. */
        CHECK_RC(troupe_queue_get(queue, &number, &got, TROUPE_FOREVER),
                 -EPIPE);
        CHECK_RC(troupe_event_set(&shared->ready), 0);
        CHECK_RC(troupe_event_wait(&shared->go, TROUPE_FOREVER), 0);
        if (dies)
            die();
        CHECK_RC(troupe_queue_release(queue, leased), 0);
        _exit(0);
    }
    CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_queue_get(queue, &number, &got, TROUPE_NOW), -EAGAIN);
    CHECK_RC(troupe_event_set(&shared->go), 0);
    if (dies) {
        CHECK_RC(troupe_queue_get(queue, &number, &got, TROUPE_FOREVER), 0);
        CHECK_EQ(number, 7);
    }
    CHECK_RC(troupe_queue_get(queue, &number, &got, TROUPE_FOREVER), -EPIPE);
    reap(pid, dies ? SIGKILL : 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_does_not_end_before_its_leases)
{
    end_with_a_lease(true);
    end_with_a_lease(false);
}

/* The tag of a thread that died, and that nobody has recovered. */
static uint64_t
dead_tag(void)
{
    uint64_t *tag = troupe_calloc(1, sizeof(*tag));
    uint64_t dead;
    pid_t pid;

    CHECK(tag != NULL);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_free(troupe_alloc(8)), 0);
        *tag = troupe__thread_self->tag;
        die();
    }
    reap(pid, SIGKILL);
    dead = *tag;
    CHECK(troupe__tag_dead(dead));
    CHECK_RC(troupe_free(tag), 0);
    return dead;
}

/* As if the thread had died between the commit of a get and its return. */
static void
died_in_get(troupe_queue *queue, uint64_t tag, uint32_t number)
{
    struct troupe__slot *slot = troupe__tag_slot(tag);

    slot->queue_items = 1;
    slot->queue_head = troupe__place_make(0, number);
    slot->queue = troupe__family_offset(queue);
}

TEST(queue_counts_what_died_with_a_consumer_once)
{
    troupe_queue *queue = queue_of(NULL);
    uint64_t first = dead_tag();
    uint64_t second = dead_tag();
    unsigned i;

    CHECK(first != second);
    for (i = 0; i < 2; i++) {
        put_number(queue, i);
        CHECK_EQ(get_number(queue), i);
    }
    died_in_get(queue, first, 0);
    troupe__queue_recovery.slot(troupe__tag_slot(first), first);
    CHECK_EQ(info_of(queue).lost, 1);
    /* Whoever counted it died before the last store; somebody else's death is
     * counted before that is done again. */
    died_in_get(queue, first, 0);
    died_in_get(queue, second, 1);
    troupe__queue_recovery.slot(troupe__tag_slot(second), second);
    CHECK_EQ(info_of(queue).lost, 2);
    troupe__queue_recovery.slot(troupe__tag_slot(first), first);
    CHECK_EQ(info_of(queue).lost, 2);
    troupe_queue_free(queue);
}

TEST(queue_redelivers_in_place)
{
    troupe_queue *queue = queue_of(NULL);
    pid_t pid;
    unsigned i;

    for (i = 0; i < 6; i++)
        put_number(queue, i);
    pid = fork();
    if (pid == 0) {
        void *data;
        size_t size;

        CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), 0);
        CHECK_EQ(get_number(queue), 1);
        CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), 0);
        CHECK_EQ(get_number(queue), 3);
        die();
    }
    reap(pid, SIGKILL);
    (void)troupe__slots_recover();
    CHECK_EQ(get_number(queue), 0);
    CHECK_EQ(get_number(queue), 2);
    CHECK_EQ(get_number(queue), 4);
    CHECK_EQ(get_number(queue), 5);
    CHECK(troupe_queue_empty(queue));
    CHECK_EQ(info_of(queue).items, 0);
    CHECK_EQ(info_of(queue).redelivered, 2);
    troupe_queue_free(queue);
}

TEST(queue_counts_attempts_up_to_a_limit)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned i;
    void *data;
    size_t size;

    put_number(queue, 1);
    for (i = 0; i < 5; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_FOREVER), 0);
            CHECK_EQ(troupe_queue_attempts(queue, data), i);
            die();
        }
        reap(pid, SIGKILL);
    }
    CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_FOREVER), 0);
    CHECK_EQ(troupe_queue_attempts(queue, data), 5);
    troupe_queue_free(queue);
}

TEST(queue_reclaims_the_reservations_of_the_dead)
{
    troupe_heap_info before = {.size = sizeof(before)};
    troupe_heap_info after = {.size = sizeof(after)};
    troupe_queue *queue = QUEUE(.max_bytes = 8 << 20);
    unsigned i;

    for (i = 0; i < 5; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            void *data;

            CHECK_RC(troupe_queue_reserve(queue, 2000000, &data), 0);
            die();
        }
        reap(pid, SIGKILL);
        (void)troupe__slots_recover();
        if (i == 0)
            CHECK_RC(troupe_heap_info_get(&before), 0);
    }
    CHECK_RC(troupe_heap_info_get(&after), 0);
    CHECK_EQ(after.committed - after.free_bytes,
             before.committed - before.free_bytes);
    troupe_queue_free(queue);
}

/* Starts a declared producer that puts `count` messages and ends by a signal,
 * by exit, or by close. */
enum end { END_EXIT, END_KILL, END_CLOSE };

static pid_t
producer(troupe_queue *queue, unsigned count, enum end end,
         struct shared *shared)
{
    pid_t pid = fork();
    unsigned i;

    CHECK_GE(pid, 0);
    if (pid != 0)
        return pid;
    CHECK_RC(troupe_queue_attach_producer(queue), 0);
    CHECK_RC(troupe_event_set(&shared->ready), 0);
    for (i = 0; i < count; i++)
        put_number(queue, i);
    CHECK_RC(troupe_event_wait(&shared->go, TROUPE_FOREVER), 0);
    if (end == END_KILL)
        die();
    if (end == END_CLOSE)
        CHECK_RC(troupe_queue_close(queue), 0);
    _exit(0);
}

static void
stream_ends(enum end end, bool waiting)
{
    troupe_queue *queue = queue_of(NULL);
    struct shared *shared = shared_new();
    unsigned char byte = 0;
    struct iovec item = {&byte, 1};
    size_t size = 1;
    void *data;
    pid_t pid = producer(queue, 3, end, shared);
    unsigned i;

    for (i = 0; i < 3; i++)
        CHECK_EQ(get_number(queue), i);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EAGAIN);
    CHECK_RC(troupe_event_set(&shared->go), 0);
    if (!waiting)
        reap(pid, end == END_KILL ? SIGKILL : 0);
    CHECK_RC(troupe_queue_get(queue, &byte, &size,
                              waiting ? TROUPE_FOREVER : TROUPE_NOW),
             -EPIPE);
    CHECK(info_of(queue).producers_gone);
    CHECK_RC(troupe_queue_attach_producer(queue), -EPIPE);
    /* Nobody may ever come to read what is put behind the end. */
    CHECK_RC(troupe_queue_put(queue, &byte, 1, TROUPE_NOW), -ESHUTDOWN);
    CHECK_RC(troupe_queue_put_many(queue, &item, 1, &size, TROUPE_FOREVER),
             -ESHUTDOWN);
    CHECK_RC(troupe_queue_reserve(queue, 1, &data), -ESHUTDOWN);
    CHECK_EQ(troupe_queue_qsize(queue), 0);
    if (waiting)
        reap(pid, end == END_KILL ? SIGKILL : 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_undeclared_putter_is_told_the_end)
{
    troupe_queue *queue =
        queue_of(TROUPE_OPTIONS(troupe_queue_options, .max_items = 1));
    struct shared *shared = shared_new();
    pid_t declared = producer(queue, 1, END_CLOSE, shared);
    pid_t other;

    CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
    while (!troupe_queue_full(queue))
        (void)sched_yield();
    other = fork();
    CHECK_GE(other, 0);
    if (other == 0) {
        CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_FOREVER), -ESHUTDOWN);
        _exit(0);
    }
    await_waiter(queue, TROUPE__KIND_QUEUE_ROOM);
    CHECK_RC(troupe_event_set(&shared->go), 0);
    reap(declared, 0);
    reap(other, 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_stream_ends_with_its_last_producer)
{
    stream_ends(END_EXIT, true);
    stream_ends(END_EXIT, false);
    stream_ends(END_KILL, true);
    stream_ends(END_KILL, false);
    stream_ends(END_CLOSE, true);
    stream_ends(END_CLOSE, false);
}

TEST(queue_stream_does_not_end_before_all_have_come)
{
    troupe_queue *queue = QUEUE(.producers = 3);
    struct shared *shared = shared_new();
    unsigned char byte;
    size_t size = 1;
    unsigned i;

    CHECK_RC(troupe_event_set(&shared->go), 0);
    for (i = 0; i < 3; i++) {
        pid_t pid;

        CHECK_RC(troupe_queue_get(queue, &byte, &size, troupe_after(0.001)),
                 -ETIMEDOUT);
        pid = producer(queue, 1, i == 1 ? END_KILL : END_EXIT, shared);
        CHECK_EQ(get_number(queue), 0);
        reap(pid, i == 1 ? SIGKILL : 0);
    }
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -EPIPE);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_keeps_count_of_many_parties)
{
    troupe_queue *queue = QUEUE(.producers = 60);
    struct shared *shared = shared_new();
    pid_t pids[60];
    unsigned char byte;
    size_t size = 1;
    unsigned i;

    for (i = 0; i < 60; i++)
        pids[i] = producer(queue, 1, END_KILL, shared);
    for (i = 0; i < 60; i++)
        CHECK_EQ(get_number(queue), 0);
    CHECK_EQ(info_of(queue).producers, 60);
    CHECK_RC(troupe_event_set(&shared->go), 0);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -EPIPE);
    for (i = 0; i < 60; i++)
        reap(pids[i], SIGKILL);
    CHECK_EQ(info_of(queue).producers, 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_producers_learn_that_the_last_consumer_died)
{
    troupe_queue *queue = QUEUE(.max_items = 1);
    struct shared *shared = shared_new();
    pid_t pid = fork();

    if (pid == 0) {
        CHECK_RC(troupe_queue_attach_consumer(queue), 0);
        CHECK_RC(troupe_event_set(&shared->ready), 0);
        CHECK_RC(troupe_event_wait(&shared->go, TROUPE_FOREVER), 0);
        await_waiter(queue, TROUPE__KIND_QUEUE_ROOM);
        die();
    }
    CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
    put_number(queue, 1);
    CHECK_RC(troupe_event_set(&shared->go), 0);
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_FOREVER), -EPIPE);
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_NOW), -EPIPE);
    reap(pid, SIGKILL);
    /* What is there may still be taken. */
    CHECK_EQ(get_number(queue), 1);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

/* With room for its messages too, and without ever having to wait. */
TEST(queue_put_learns_that_the_last_consumer_died)
{
    struct shared *shared = shared_new();
    pid_t pids[2];
    unsigned way;
    unsigned i;

    for (way = 0; way < 4; way++) {
        troupe_queue *queue = queue_of(NULL);
        struct iovec item = {&way, 1};
        size_t count;
        void *early;
        void *data;

        for (i = 0; i < 2; i++) {
            CHECK_RC(troupe_event_clear(&shared->ready), 0);
            pids[i] = fork();
            if (pids[i] == 0) {
                CHECK_RC(troupe_queue_attach_consumer(queue), 0);
                CHECK_RC(troupe_event_set(&shared->ready), 0);
                for (;;)
                    (void)pause();
            }
            CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
        }
        CHECK_RC(troupe_queue_reserve(queue, 1, &early), 0);
        put_number(queue, 1);
        /* One of the two, in either order, then the other one. */
        CHECK_EQ(kill(pids[way & 1], SIGKILL), 0);
        reap(pids[way & 1], SIGKILL);
        put_number(queue, 2);
        CHECK_EQ(kill(pids[1 - (way & 1)], SIGKILL), 0);
        reap(pids[1 - (way & 1)], SIGKILL);
        if (way == 0)
            CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), -EPIPE);
        else if (way == 1)
            CHECK_RC(
                troupe_queue_put_many(queue, &item, 1, &count, TROUPE_FOREVER),
                -EPIPE);
        else if (way == 2)
            CHECK_RC(troupe_queue_reserve(queue, 1, &data), -EPIPE);
        else
            CHECK_RC(troupe_queue_commit(queue, early, 1, TROUPE_NOW), -EPIPE);
        CHECK_RC(troupe_queue_cancel(queue, early), 0);
        troupe_queue_free(queue);
    }
    CHECK_RC(troupe_free(shared), 0);
}

/* A consumer that has not come to life yet, and one of which another thread
 * than the one that declared it goes on, are there. */
static void *
attach_consumer(void *queue)
{
    CHECK_RC(troupe_queue_attach_consumer(queue), 0);
    return NULL;
}

TEST(queue_put_counts_on_a_declared_consumer)
{
    troupe_queue *queue = queue_of(NULL);
    struct shared *shared = shared_new();
    struct troupe__birth birth;
    pthread_t thread;
    pid_t pid;

    CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
    CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_GET, birth.member), 0);
    put_number(queue, 1);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe__member_await(&birth), 0);
        CHECK_RC(troupe__member_adopt(&birth), 0);
        CHECK_EQ(pthread_create(&thread, NULL, attach_consumer, queue), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_RC(troupe_event_set(&shared->ready), 0);
        for (;;)
            (void)pause();
    }
    put_number(queue, 2);
    troupe__member_started(birth.member, pid);
    CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
    put_number(queue, 3);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    reap(pid, SIGKILL);
    CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), -EPIPE);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}

TEST(queue_declares_a_member_before_it_exists)
{
    troupe_queue *queue = queue_of(NULL);
    struct troupe__birth birth;
    unsigned char byte;
    size_t size = 1;
    pid_t pid;

    CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
    CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, birth.member), 0);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EAGAIN);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe__member_await(&birth), 0);
        CHECK_RC(troupe__member_adopt(&birth), 0);
        put_number(queue, 9);
        _exit(0);
    }
    troupe__member_started(birth.member, pid);
    CHECK_EQ(get_number(queue), 9);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -EPIPE);
    reap(pid, 0);
    troupe_queue_free(queue);
}

TEST(queue_forgets_a_member_whose_start_failed)
{
    troupe_queue *queue = queue_of(NULL);
    struct troupe__birth birth;
    unsigned char byte;
    size_t size = 1;

    CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
    CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, birth.member), 0);
    troupe__queue_undeclare(queue, TROUPE_QUEUE_PUT, birth.member);
    troupe__member_ended(birth.member);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EAGAIN);
    CHECK(!info_of(queue).producers_gone);
    /* One that is never taken back counts as one that came and died. */
    CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
    CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, birth.member), 0);
    troupe__member_ended(birth.member);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EPIPE);
    troupe_queue_free(queue);
}

/* The last producer leaves while another one is declared whose start then
 * fails. Meanwhile others come to the table of parties. */
TEST(queue_ends_with_a_start_that_failed)
{
    struct shared *shared = shared_new();
    unsigned way;

    for (way = 0; way < 2; way++) {
        troupe_queue *queue = queue_of(NULL);
        struct pollfd bell = {.events = POLLIN};
        struct troupe__birth birth;
        unsigned char byte;
        size_t size = 1;
        pid_t pid;

        CHECK_RC(troupe_event_clear(&shared->go), 0);
        CHECK_RC(troupe_event_clear(&shared->ready), 0);
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &bell.fd), 0);
        pid = producer(queue, 0, END_EXIT, shared);
        CHECK_RC(troupe_event_wait(&shared->ready, TROUPE_FOREVER), 0);
        CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
        CHECK_RC(troupe__queue_declare(queue, TROUPE_QUEUE_PUT, birth.member),
                 0);
        CHECK_RC(troupe_event_set(&shared->go), 0);
        reap(pid, 0);
        CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EAGAIN);
        if (way == 1) {
            pid = fork();
            if (pid == 0) {
                CHECK_RC(troupe_queue_close(queue), 0);
                _exit(0);
            }
            reap(pid, 0);
        }
        do {
            CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW),
                     -EAGAIN);
            CHECK_GE(poll(&bell, 1, 0), 0);
        } while (bell.revents != 0);
        troupe__queue_undeclare(queue, TROUPE_QUEUE_PUT, birth.member);
        troupe__member_ended(birth.member);
        CHECK_EQ(poll(&bell, 1, 0), 1);
        CHECK(info_of(queue).producers_gone);
        CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EPIPE);
        troupe_queue_free(queue);
    }
    CHECK_RC(troupe_free(shared), 0);
    if (troupe__doorbell_sender() >= 0)
        harness_keep_fd(troupe__doorbell_sender());
}

TEST(queue_closed_by_a_parent_is_open_in_the_child)
{
    troupe_queue *queue = queue_of(NULL);
    pid_t pid;

    CHECK_RC(troupe_queue_close(queue), 0);
    pid = fork();
    if (pid == 0) {
        put_number(queue, 3);
        CHECK_EQ(get_number(queue), 3);
        put_number(queue, 4);
        _exit(0);
    }
    reap(pid, 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_NOW), -ESHUTDOWN);
    troupe_queue_free(queue);
}

static void
await_signals(uint64_t more)
{
    uint64_t until = harness_storm_signals() + more;

    while (harness_storm_signals() < until)
        (void)usleep(100);
}

/* Waits, and copies large and small, that are interrupted all the time. */
static void
storm_get(troupe_queue *queue, unsigned count)
{
    static unsigned char data[100000];
    unsigned i;

    for (i = 0; i < count; i++) {
        size_t size = sizeof(data);
        unsigned number;

        CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_FOREVER), 0);
        CHECK_EQ(size, i % 3 == 0 ? sizeof(data) : 100);
        memcpy(&number, data, sizeof(number));
        CHECK_EQ(number, i);
        CHECK_EQ(data[size - 1], (unsigned char)i);
    }
}

static void
storm_put(troupe_queue *queue, unsigned count)
{
    static unsigned char data[100000];
    unsigned i;

    for (i = 0; i < count; i++) {
        size_t size = i % 3 == 0 ? sizeof(data) : 100;

        memcpy(data, &i, sizeof(i));
        data[size - 1] = (unsigned char)i;
        CHECK_RC(troupe_queue_put(queue, data, size, TROUPE_FOREVER), 0);
    }
}

TEST_TIMEOUT(queue_waits_on_under_a_storm_of_signals, 60)
{
    troupe_queue *empty = queue_of(NULL);
    troupe_queue *full = QUEUE(.max_items = 1);
    troupe_deadline deadline;
    unsigned char byte;
    size_t size = 1;
    pid_t pids[2];
    unsigned i;

    put_number(full, 0);
    for (i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            harness_storm(200);
            if (i == 0)
                CHECK_EQ(get_number(empty), 5);
            else
                put_number(full, 6);
            harness_storm(0);
            _exit(0);
        }
    }
    await_waiter(empty, TROUPE__KIND_QUEUE_ITEMS);
    await_waiter(full, TROUPE__KIND_QUEUE_ROOM);
    await_signals(200);
    put_number(empty, 5);
    CHECK_EQ(get_number(full), 0);
    CHECK_EQ(get_number(full), 6);
    for (i = 0; i < 2; i++)
        reap(pids[i], 0);
    harness_storm(200);
    deadline = troupe_after(0.1);
    CHECK_RC(troupe_queue_get(empty, &byte, &size, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    put_number(full, 0);
    deadline = troupe_after(0.1);
    CHECK_RC(troupe_queue_put(full, "x", 1, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    CHECK_EQ(get_number(full), 0);
    harness_storm(0);
    /* Both sides at once, with room for one message. */
    pids[0] = fork();
    if (pids[0] == 0) {
        harness_storm(200);
        storm_get(full, 300);
        harness_storm(0);
        _exit(0);
    }
    harness_storm(200);
    storm_put(full, 300);
    harness_storm(0);
    reap(pids[0], 0);
    CHECK_EQ(info_of(full).items, 0);
    CHECK_EQ(info_of(full).lost, 0);
    troupe_queue_free(empty);
    troupe_queue_free(full);
}

TEST(queue_waits_end_when_asked_to_stop)
{
    troupe_queue *empty = queue_of(NULL);
    troupe_queue *full = QUEUE(.max_items = 1);
    unsigned char byte;
    size_t size = 1;
    void *data;

    put_number(full, 1);
    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_process_stop(troupe_process_current()), 0);
    CHECK_RC(troupe_queue_get(empty, &byte, &size, TROUPE_FOREVER), -ECANCELED);
    CHECK_EQ(size, 1);
    CHECK_RC(troupe_queue_put(full, "", 1, TROUPE_FOREVER), -ECANCELED);
    CHECK_RC(troupe_queue_peek(empty, &data, &size, TROUPE_FOREVER),
             -ECANCELED);
    /* What needs no wait is done. */
    CHECK_EQ(get_number(full), 1);
    troupe_stoppable_end();
    CHECK_RC(troupe_queue_get(empty, &byte, &size, troupe_after(0.001)),
             -ETIMEDOUT);
    troupe_queue_free(empty);
    troupe_queue_free(full);
}

/* A waiter killed with a wake-up in its hands does not keep the others asleep:
 * no message is left while somebody waits. */
TEST(queue_waiters_survive_the_death_of_waiters)
{
    troupe_queue *queue = queue_of(NULL);
    struct shared *shared = shared_new();
    unsigned round;

    for (round = 0; round < 30; round++) {
        pid_t pids[3];
        unsigned i;

        for (i = 0; i < 3; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                (void)get_number(queue);
                (void)__atomic_fetch_add(&shared->sum, 1, __ATOMIC_RELAXED);
                _exit(0);
            }
        }
        await_waiter(queue, TROUPE__KIND_QUEUE_ITEMS);
        put_number(queue, 1);
        CHECK_EQ(kill(pids[round % 3], SIGKILL), 0);
        put_number(queue, 2);
        put_number(queue, 3);
        for (i = 0; i < 3; i++) {
            int status;

            CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        }
        while (!troupe_queue_empty(queue))
            (void)get_number(queue);
    }
    CHECK_GE(shared->sum, 2 * 30);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(shared), 0);
}
