/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue between threads: the twin of test_queue_processes that runs under
 * ThreadSanitizer, and what threads of one member are promised.
 */
#include "harness.h"

#include "ipc/queue.h"

#include <troupe.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

struct work {
    troupe_queue *queue;
    unsigned number;
    unsigned each;
    size_t most;
    unsigned mode;
    uint64_t *sum;
};

enum mode { MODE_PLAIN, MODE_BATCH, MODE_ZERO_COPY };

static void
put_one(const struct work *work, unsigned char *data, unsigned k)
{
    size_t size = 8 + (k * 7919u + work->number) % (work->most - 7);
    unsigned head[2] = {work->number, k};
    unsigned char *to = data;
    void *reserved;

    if (work->mode == MODE_ZERO_COPY) {
        CHECK_RC(troupe_queue_reserve(work->queue, size, &reserved), 0);
        to = reserved;
    }
    memset(to, (int)(k & 0xff), size);
    memcpy(to, head, sizeof(head));
    if (work->mode == MODE_ZERO_COPY)
        CHECK_RC(troupe_queue_commit(work->queue, to, size, TROUPE_FOREVER), 0);
    else
        CHECK_RC(troupe_queue_put(work->queue, to, size, TROUPE_FOREVER), 0);
}

static void *
produce(void *argument)
{
    struct work *work = argument;
    unsigned char *data = malloc(work->most * 8);
    unsigned k = 0;

    CHECK(data != NULL);
    while (k < work->each) {
        struct iovec items[8];
        unsigned heads[8][2];
        size_t count = 0;
        size_t done;

        if (work->mode != MODE_BATCH) {
            put_one(work, data, k++);
            continue;
        }
        for (; count < 8 && k + count < work->each; count++) {
            unsigned number = k + (unsigned)count;

            items[count].iov_base = data + count * work->most;
            items[count].iov_len =
                8 + (number * 7919u + work->number) % (work->most - 7);
            heads[count][0] = work->number;
            heads[count][1] = number;
            memset(items[count].iov_base, (int)(number & 0xff),
                   items[count].iov_len);
            memcpy(items[count].iov_base, heads[count], 8);
        }
        CHECK_RC(troupe_queue_put_many(work->queue, items, count, &done,
                                       TROUPE_FOREVER),
                 0);
        CHECK_EQ(done, count);
        k += (unsigned)done;
    }
    free(data);
    return NULL;
}

static void
check_one(const struct work *work, const unsigned char *data, size_t size,
          unsigned *next)
{
    unsigned head[2];
    size_t j;

    memcpy(head, data, sizeof(head));
    CHECK_LT(head[0], 32);
    CHECK_GE(head[1], next[head[0]]);
    next[head[0]] = head[1] + 1;
    CHECK_EQ(size, 8 + (head[1] * 7919u + head[0]) % (work->most - 7));
    for (j = 8; j < size; j++)
        if (data[j] != (unsigned char)(head[1] & 0xff))
            FAIL("message %u of %u is torn at %zu", head[1], head[0], j);
    (void)__atomic_fetch_add(work->sum, head[0] * 1000000u + head[1] + 1,
                             __ATOMIC_RELAXED);
}

static void *
consume(void *argument)
{
    struct work *work = argument;
    unsigned char *data = malloc(work->most * 8);
    unsigned next[32] = {0};
    int status;

    CHECK(data != NULL);
    for (;;) {
        struct iovec items[8];
        size_t size = work->most;
        size_t count;
        void *leased;
        unsigned i;

        switch (work->mode) {
        case MODE_PLAIN:
            status = troupe_queue_get(work->queue, data, &size, TROUPE_FOREVER);
            if (status == 0)
                check_one(work, data, size, next);
            break;
        case MODE_BATCH:
            for (i = 0; i < 8; i++) {
                items[i].iov_base = data + i * work->most;
                items[i].iov_len = work->most;
            }
            status = troupe_queue_get_many(work->queue, items, 8, &count,
                                           TROUPE_FOREVER);
            for (i = 0; status == 0 && i < count; i++)
                check_one(work, items[i].iov_base, items[i].iov_len, next);
            break;
        default:
            status =
                troupe_queue_peek(work->queue, &leased, &size, TROUPE_FOREVER);
            if (status == 0) {
                check_one(work, leased, size, next);
                CHECK_RC(troupe_queue_release(work->queue, leased), 0);
            }
            break;
        }
        if (status < 0)
            break;
    }
    CHECK_RC(status, -EPIPE);
    free(data);
    return NULL;
}

static void
many_to_many(const troupe_queue_options *options, unsigned producers,
             unsigned consumers, unsigned each, size_t most, enum mode mode)
{
    struct work work[32];
    pthread_t threads[32];
    troupe_queue *queue;
    troupe_queue_info info = {.size = sizeof(info)};
    uint64_t sum = 0;
    uint64_t expected = 0;
    unsigned i;
    unsigned k;

    CHECK_RC(troupe_queue_new(&queue, options), 0);
    for (i = 0; i < producers + consumers; i++) {
        work[i] = (struct work){queue, i, each, most, mode, &sum};
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < producers ? produce : consume, &work[i]),
                 0);
    }
    for (i = 0; i < producers; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        for (k = 0; k < each; k++)
            expected += i * 1000000u + k + 1;
    }
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    for (; i < producers + consumers; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(sum, expected);
    CHECK_RC(troupe_queue_info_get(queue, &info), 0);
    CHECK_EQ(info.puts, (uint64_t)producers * each);
    CHECK_EQ(info.gets, info.puts);
    CHECK_EQ(info.items, 0);
    CHECK_EQ(info.leased, 0);
    troupe_queue_free(queue);
}

TEST(queue_carries_between_two_threads)
{
    many_to_many(NULL, 1, 1, 5000, 100, MODE_PLAIN);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .single_producer = true,
                                .single_consumer = true),
                 1, 1, 5000, 100, MODE_PLAIN);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 1), 1, 1,
                 500, 100, MODE_PLAIN);
}

TEST(queue_carries_between_many_threads)
{
    many_to_many(NULL, 4, 4, 2000, 100, MODE_PLAIN);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 5), 4, 4,
                 500, 100, MODE_PLAIN);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 100000), 3,
                 3, 200, 20000, MODE_PLAIN);
}

TEST(queue_carries_batches_between_threads)
{
    many_to_many(NULL, 3, 3, 2000, 100, MODE_BATCH);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 5), 2, 2,
                 500, 100, MODE_BATCH);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 100000), 2,
                 2, 200, 20000, MODE_BATCH);
}

TEST(queue_carries_without_copies_between_threads)
{
    many_to_many(NULL, 3, 3, 2000, 100, MODE_ZERO_COPY);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_items = 4), 2, 2,
                 500, 100, MODE_ZERO_COPY);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 100000), 3,
                 3, 200, 20000, MODE_ZERO_COPY);
    many_to_many(TROUPE_OPTIONS(troupe_queue_options, .single_producer = true,
                                .single_consumer = true),
                 1, 1, 3000, 10000, MODE_ZERO_COPY);
}

struct waiter {
    troupe_queue *queue;
    int expected;
};

static void *
wait_get(void *argument)
{
    const struct waiter *waiter = argument;
    unsigned char byte;
    size_t size = 1;

    CHECK_RC(troupe_queue_get(waiter->queue, &byte, &size, TROUPE_FOREVER),
             waiter->expected);
    return NULL;
}

static void *
wait_put(void *argument)
{
    const struct waiter *waiter = argument;

    CHECK_RC(troupe_queue_put(waiter->queue, "x", 1, TROUPE_FOREVER),
             waiter->expected);
    return NULL;
}

TEST(queue_close_wakes_the_threads_of_the_member)
{
    troupe_queue *empty;
    troupe_queue *full;
    struct waiter get;
    struct waiter put;
    pthread_t threads[4];
    unsigned i;

    CHECK_RC(troupe_queue_new(&empty, NULL), 0);
    CHECK_RC(troupe_queue_new(
                 &full, TROUPE_OPTIONS(troupe_queue_options, .max_items = 1)),
             0);
    CHECK_RC(troupe_queue_put(full, "x", 1, TROUPE_NOW), 0);
    get = (struct waiter){empty, -ESHUTDOWN};
    put = (struct waiter){full, -ESHUTDOWN};
    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, i < 2 ? wait_get : wait_put,
                                i < 2 ? &get : &put),
                 0);
    CHECK_RC(troupe_queue_close(empty), 0);
    CHECK_RC(troupe_queue_close(full), 0);
    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    troupe_queue_free(empty);
    troupe_queue_free(full);
}

static void *
lease_and_end(void *argument)
{
    troupe_queue *queue = argument;
    void *data;
    size_t size;

    CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_reserve(queue, 100000, &data), 0);
    return NULL;
}

static void *
release_of_another(void *argument)
{
    struct {
        troupe_queue *queue;
        void *data;
    } *other = argument;

    CHECK_RC(troupe_queue_release(other->queue, other->data), -EINVAL);
    return NULL;
}

TEST(queue_leases_end_with_their_thread)
{
    struct {
        troupe_queue *queue;
        void *data;
    } mine;

    troupe_queue *queue;
    pthread_t thread;
    size_t size;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe_queue_put(queue, "abc", 3, TROUPE_NOW), 0);
    CHECK_EQ(pthread_create(&thread, NULL, lease_and_end, queue), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(troupe_queue_peek(queue, &mine.data, &size, TROUPE_FOREVER), 0);
    CHECK_EQ(size, 3);
    CHECK_MEM(mine.data, "abc", 3);
    CHECK_EQ(troupe_queue_attempts(queue, mine.data), 1);
    mine.queue = queue;
    CHECK_EQ(pthread_create(&thread, NULL, release_of_another, &mine), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(troupe_queue_release(queue, mine.data), 0);
    troupe_queue_free(queue);
}

static void *
poll_and_get(void *argument)
{
    struct work *work = argument;
    struct pollfd p = {.events = POLLIN};
    unsigned got = 0;

    CHECK_RC(troupe_queue_fileno(work->queue, TROUPE_QUEUE_GET, &p.fd), 0);
    while (got < work->each) {
        unsigned number;
        size_t size = sizeof(number);
        int status = troupe_queue_get(work->queue, &number, &size, TROUPE_NOW);

        if (status == 0) {
            CHECK_EQ(number, got);
            got++;
            continue;
        }
        CHECK_RC(status, -EAGAIN);
        CHECK_EQ(poll(&p, 1, -1), 1);
    }
    return NULL;
}

TEST(queue_fileno_between_threads)
{
    struct work work = {.each = 2000};
    pthread_t thread;
    unsigned i;

    CHECK_RC(troupe_queue_new(&work.queue, TROUPE_OPTIONS(troupe_queue_options,
                                                          .max_items = 7)),
             0);
    CHECK_EQ(pthread_create(&thread, NULL, poll_and_get, &work), 0);
    for (i = 0; i < work.each; i++)
        CHECK_RC(troupe_queue_put(work.queue, &i, sizeof(i), TROUPE_FOREVER),
                 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    troupe_queue_free(work.queue);
    if (troupe__doorbell_sender() >= 0)
        harness_keep_fd(troupe__doorbell_sender());
}
