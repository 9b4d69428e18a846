/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What troupe/queue.h says of one process: every return, every bound, and the
 * ring at its edges.
 */
#include "harness.h"

#include "heap/alloc.h"
#include "ipc/queue.h"

#include <troupe.h>

#include <stdlib.h>
#include <unistd.h>

static troupe_queue *
queue_of(const troupe_queue_options *options)
{
    troupe_queue *queue = NULL;

    CHECK_RC(troupe_queue_new(&queue, options), 0);
    CHECK(queue != NULL);
    return queue;
}

#define QUEUE(...) queue_of(TROUPE_OPTIONS(troupe_queue_options, __VA_ARGS__))

/* A payload of any size that tells which it is. */
static void
fill(unsigned char *data, size_t size, unsigned number)
{
    size_t i;

    for (i = 0; i < size; i++)
        data[i] = (unsigned char)(number * 31 + i * 7 + (i >> 8));
}

static void
check_filled(const unsigned char *data, size_t size, unsigned number)
{
    size_t i;

    for (i = 0; i < size; i++)
        if (data[i] != (unsigned char)(number * 31 + i * 7 + (i >> 8)))
            FAIL("message %u of %zu bytes differs at %zu", number, size, i);
}

static void
put_number(troupe_queue *queue, unsigned number)
{
    CHECK_RC(troupe_queue_put(queue, &number, sizeof(number), TROUPE_NOW), 0);
}

static void
get_number(troupe_queue *queue, unsigned expected)
{
    unsigned number = ~expected;
    size_t size = sizeof(number);

    CHECK_RC(troupe_queue_get(queue, &number, &size, TROUPE_NOW), 0);
    CHECK_EQ(size, sizeof(number));
    CHECK_EQ(number, expected);
}

static void
check_empty(troupe_queue *queue)
{
    unsigned char byte;
    size_t size = 1;

    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EAGAIN);
    CHECK_EQ(size, 1);
    CHECK(troupe_queue_empty(queue));
    CHECK_EQ(troupe_queue_qsize(queue), 0);
}

static troupe_queue_info
info_of(troupe_queue *queue)
{
    troupe_queue_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_queue_info_get(queue, &info), 0);
    return info;
}

static uint64_t
heap_used_bytes(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_heap_info_get(&info), 0);
    return info.committed - info.free_bytes;
}

TEST(queue_gives_messages_back_in_order)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned i;

    check_empty(queue);
    for (i = 0; i < 1000; i++)
        put_number(queue, i);
    CHECK_EQ(troupe_queue_qsize(queue), 1000);
    CHECK(!troupe_queue_empty(queue));
    for (i = 0; i < 1000; i++)
        get_number(queue, i);
    check_empty(queue);
    troupe_queue_free(queue);
}

TEST(queue_takes_every_size)
{
    static const size_t sizes[] = {0,    1,     15,    16,     17,
                                   63,   64,    4095,  4096,   4097,
                                   8192, 12345, 65536, 1000000};
    static unsigned char in[1000000];
    static unsigned char out[1000000];
    troupe_queue *queue = QUEUE(.max_bytes = 4 << 20);
    unsigned i;

    for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        fill(in, sizes[i], i);
        CHECK_RC(troupe_queue_put(queue, in, sizes[i], TROUPE_NOW), 0);
    }
    for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t size = sizeof(out);

        CHECK_RC(troupe_queue_get(queue, out, &size, TROUPE_NOW), 0);
        CHECK_EQ(size, sizes[i]);
        check_filled(out, size, i);
    }
    check_empty(queue);
    troupe_queue_free(queue);
}

TEST(queue_takes_no_bytes_from_null)
{
    troupe_queue *queue = queue_of(NULL);
    size_t size = 0;

    CHECK_RC(troupe_queue_put(queue, NULL, 0, TROUPE_NOW), 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    CHECK_RC(troupe_queue_get(queue, NULL, &size, TROUPE_NOW), 0);
    CHECK_EQ(size, 0);
    check_empty(queue);
    troupe_queue_free(queue);
}

TEST(queue_refuses_what_is_no_queue)
{
    troupe_queue *queue = queue_of(NULL);
    troupe_queue *heap = troupe_calloc(1, 4096);
    uint64_t stack[512] = {0};
    troupe_queue *wrong[6];
    unsigned char byte = 0;
    struct iovec item = {&byte, 1};
    troupe_queue_info info = {.size = sizeof(info)};
    unsigned i;

    wrong[0] = NULL;
    wrong[1] = heap;
    wrong[2] = (troupe_queue *)(void *)stack;
    /* In the heap's window: without memory, before the blocks, at its end. */
    wrong[3] = (troupe_queue *)((uintptr_t)queue + (UINT64_C(1) << 30));
    wrong[4] = (troupe_queue *)((uintptr_t)queue & ~(uintptr_t)0x1fffff);
    wrong[5] = (troupe_queue *)((uintptr_t)queue | 0xfffffffc0);
    for (i = 0; i < 6; i++) {
        size_t size = 1;
        void *data;
        size_t count;

        CHECK_RC(troupe_queue_put(wrong[i], &byte, 1, TROUPE_NOW), -EINVAL);
        CHECK_RC(troupe_queue_get(wrong[i], &byte, &size, TROUPE_NOW), -EINVAL);
        CHECK_RC(troupe_queue_put_many(wrong[i], &item, 1, &count, TROUPE_NOW),
                 -EINVAL);
        CHECK_RC(troupe_queue_get_many(wrong[i], &item, 1, &count, TROUPE_NOW),
                 -EINVAL);
        CHECK_RC(troupe_queue_reserve(wrong[i], 1, &data), -EINVAL);
        CHECK_RC(troupe_queue_commit(wrong[i], &byte, 1, TROUPE_NOW), -EINVAL);
        CHECK_RC(troupe_queue_cancel(wrong[i], &byte), -EINVAL);
        CHECK_RC(troupe_queue_peek(wrong[i], &data, &size, TROUPE_NOW),
                 -EINVAL);
        CHECK_RC(troupe_queue_release(wrong[i], &byte), -EINVAL);
        CHECK_EQ(troupe_queue_attempts(wrong[i], &byte), 0);
        CHECK_RC(troupe_queue_close(wrong[i]), -EINVAL);
        CHECK_RC(troupe_queue_shutdown(wrong[i]), -EINVAL);
        CHECK_RC(troupe_queue_attach_producer(wrong[i]), -EINVAL);
        CHECK_RC(troupe_queue_attach_consumer(wrong[i]), -EINVAL);
        CHECK_RC(troupe_queue_info_get(wrong[i], &info), -EINVAL);
        CHECK_EQ(troupe_queue_qsize(wrong[i]), 0);
        CHECK(troupe_queue_empty(wrong[i]));
        CHECK(!troupe_queue_full(wrong[i]));
        troupe_queue_free(wrong[i]);
    }
    CHECK_RC(troupe_free(heap), 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_queue_put(queue, &byte, 1, TROUPE_NOW), -EINVAL);
}

TEST(queue_refuses_null_arguments)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned char byte;
    void *data;
    size_t size = 1;
    size_t count;

    CHECK_RC(troupe_queue_new(NULL, NULL), -EINVAL);
    CHECK_RC(troupe_queue_put(queue, NULL, 1, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_get(queue, NULL, &size, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_get(queue, &byte, NULL, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_put_many(queue, NULL, 1, &count, TROUPE_NOW),
             -EINVAL);
    CHECK_RC(troupe_queue_put_many(queue, NULL, 0, NULL, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_get_many(queue, NULL, 1, &count, TROUPE_NOW),
             -EINVAL);
    CHECK_RC(troupe_queue_get_many(queue, NULL, 0, NULL, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_put_many(queue, NULL, 0, &count, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_get_many(queue, NULL, 0, &count, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_reserve(queue, 1, NULL), -EINVAL);
    CHECK_RC(troupe_queue_peek(queue, NULL, &size, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_peek(queue, &data, NULL, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_info_get(queue, NULL), -EINVAL);
    CHECK_RC(troupe_queue_commit(queue, NULL, 0, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_queue_cancel(queue, NULL), -EINVAL);
    CHECK_RC(troupe_queue_release(queue, NULL), -EINVAL);
    troupe_queue_free(NULL);
    troupe_queue_free(queue);
}

TEST(queue_refuses_options_out_of_range)
{
    struct {
        troupe_queue_options options;
        uint64_t more;
    } longer = {.options.size = sizeof(longer)};

    troupe_queue *queue = NULL;

#define REFUSED(...)                                                           \
 CHECK_RC(troupe_queue_new(&queue,                                             \
                           TROUPE_OPTIONS(troupe_queue_options, __VA_ARGS__)), \
          -EINVAL)
    REFUSED(.max_items = (UINT64_C(1) << 30) + 1);
    REFUSED(.max_bytes = (UINT64_C(16) << 30) + 1);
    REFUSED(.max_bytes = 15);
    REFUSED(.max_bytes = 1000, .small_bytes = 1001);
    REFUSED(.producers = 65537);
    REFUSED(.consumers = 65537);
    CHECK_RC(troupe_queue_new(&queue, &longer.options), 0);
    troupe_queue_free(queue);
    longer.more = 1;
    queue = NULL;
    CHECK_RC(troupe_queue_new(&queue, &longer.options), -E2BIG);
    longer.more = 0;
    longer.options.reserved_[5] = 1;
    CHECK_RC(troupe_queue_new(&queue, &longer.options), -E2BIG);
    longer.options.reserved_[5] = 0;
    longer.options.size = 3;
    CHECK_RC(troupe_queue_new(&queue, &longer.options), -EINVAL);
    CHECK(queue == NULL);
}

TEST(queue_is_full_at_max_items)
{
    troupe_queue *queue = QUEUE(.max_items = 3);
    unsigned i;

    for (i = 0; i < 10; i++) {
        put_number(queue, 1);
        put_number(queue, 2);
        CHECK(!troupe_queue_full(queue));
        put_number(queue, 3);
        CHECK(troupe_queue_full(queue));
        CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), -EAGAIN);
        CHECK_RC(troupe_queue_put(queue, "x", 1, troupe_after(0.001)),
                 -ETIMEDOUT);
        get_number(queue, 1);
        CHECK(!troupe_queue_full(queue));
        put_number(queue, 4);
        CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), -EAGAIN);
        get_number(queue, 2);
        get_number(queue, 3);
        get_number(queue, 4);
        check_empty(queue);
    }
    troupe_queue_free(queue);
}

/* Fills a queue with messages of a size, from every position of the ring, and
 * compares with the documented bound. */
static void
bytes_bound(uint64_t max_bytes, size_t size)
{
    static unsigned char data[65536];
    troupe_queue *queue = QUEUE(.max_bytes = max_bytes);
    uint64_t fit = max_bytes / TROUPE_QUEUE_STORED(size);
    unsigned round;

    for (round = 0; round < 12; round++) {
        uint64_t i;
        size_t got;

        for (i = 0; i < fit; i++) {
            fill(data, size, (unsigned)i);
            CHECK_RC(troupe_queue_put(queue, data, size, TROUPE_NOW), 0);
        }
        CHECK_RC(troupe_queue_put(queue, data, size, TROUPE_NOW), -EAGAIN);
        CHECK_EQ(info_of(queue).bytes, fit * TROUPE_QUEUE_STORED(size));
        for (i = 0; i < fit; i++) {
            got = sizeof(data);
            CHECK_RC(troupe_queue_get(queue, data, &got, TROUPE_NOW), 0);
            CHECK_EQ(got, size);
            check_filled(data, size, (unsigned)i);
        }
        CHECK_EQ(info_of(queue).bytes, 0);
        /* The next round begins elsewhere. */
        CHECK_RC(troupe_queue_put(queue, data, round, TROUPE_NOW), 0);
        got = sizeof(data);
        CHECK_RC(troupe_queue_get(queue, data, &got, TROUPE_NOW), 0);
    }
    troupe_queue_free(queue);
}

TEST(queue_is_full_at_max_bytes)
{
    bytes_bound(1024, 0);
    bytes_bound(1024, 1);
    bytes_bound(1000, 16);
    bytes_bound(5000, 100);
    bytes_bound(10000, 4096);
    bytes_bound(10000, 4097);
    bytes_bound(65536, 4000);
    bytes_bound(200000, 60000);
    bytes_bound(1 << 20, 64);
}

/* Whatever bounds it: what full says is what the next put of no bytes meets. */
static void
full_is_true(const troupe_queue_options *options, size_t most)
{
    static unsigned char data[8192];
    troupe_queue *queue = queue_of(options);
    unsigned fulls = 0;
    unsigned i;

    for (i = 0; i < 4000; i++) {
        bool full = troupe_queue_full(queue);
        size_t got = sizeof(data);
        int status;

        CHECK_RC(troupe_queue_put(queue, NULL, 0, TROUPE_NOW),
                 full ? -EAGAIN : 0);
        fulls += full;
        /* More and more, and then less and less. */
        if (harness_random() % 4 == (i / 500) % 2 * 3) {
            status = troupe_queue_put(queue, data, harness_random() % most,
                                      TROUPE_NOW);
            CHECK(status == 0 || status == -EAGAIN);
        } else if (i / 500 % 2 != 0) {
            status = troupe_queue_get(queue, data, &got, TROUPE_NOW);
            got = sizeof(data);
            if (status == 0)
                status = troupe_queue_get(queue, data, &got, TROUPE_NOW);
            CHECK(status == 0 || status == -EAGAIN);
        }
    }
    CHECK_GT(fulls, 10);
    troupe_queue_free(queue);
}

TEST(queue_full_tells_of_every_bound)
{
    troupe_queue *queue = QUEUE(.max_bytes = 64 << 20, .small_bytes = 65536);
    size_t size = 0;

    while (troupe_queue_put(queue, NULL, 0, TROUPE_NOW) == 0)
        ;
    CHECK(troupe_queue_full(queue));
    CHECK_RC(troupe_queue_get(queue, NULL, &size, TROUPE_NOW), 0);
    CHECK(!troupe_queue_full(queue));
    CHECK_RC(troupe_queue_put(queue, NULL, 0, TROUPE_NOW), 0);
    troupe_queue_free(queue);
    full_is_true(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 64 << 20,
                                .small_bytes = 4096),
                 200);
    full_is_true(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 64 << 20,
                                .small_bytes = 4096, .single_producer = true),
                 5000);
    full_is_true(TROUPE_OPTIONS(troupe_queue_options, .max_bytes = 4096), 200);
    full_is_true(TROUPE_OPTIONS(troupe_queue_options, .max_items = 7), 5000);
}

TEST(queue_refuses_a_message_over_max_bytes_at_once)
{
    static unsigned char data[2000];
    troupe_queue *queue = QUEUE(.max_bytes = 1024);
    void *reserved;

    CHECK_RC(troupe_queue_put(queue, data, 1008, TROUPE_NOW), 0);
    CHECK(troupe_queue_full(queue));
    CHECK_RC(troupe_queue_put(queue, data, 1009, TROUPE_FOREVER), -EMSGSIZE);
    CHECK_RC(troupe_queue_put(queue, data, SIZE_MAX - 3, TROUPE_FOREVER),
             -EMSGSIZE);
    CHECK_RC(troupe_queue_reserve(queue, 1009, &reserved), -EMSGSIZE);
    CHECK_RC(troupe_queue_reserve(queue, SIZE_MAX, &reserved), -EMSGSIZE);
    troupe_queue_free(queue);
    queue = QUEUE(.max_bytes = 100000);
    CHECK_RC(troupe_queue_put(queue, data, 100001, TROUPE_FOREVER), -EMSGSIZE);
    troupe_queue_free(queue);
    queue = QUEUE(.max_bytes = 16);
    CHECK_RC(troupe_queue_put(queue, NULL, 0, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_put(queue, NULL, 0, TROUPE_NOW), -EAGAIN);
    CHECK_RC(troupe_queue_put(queue, data, 1, TROUPE_NOW), -EMSGSIZE);
    troupe_queue_free(queue);
}

TEST(queue_get_tells_the_size_when_the_buffer_is_too_short)
{
    static unsigned char data[70000];
    troupe_queue *queue = QUEUE(.max_bytes = 200000);
    static const size_t sizes[] = {1, 100, 5000, 70000};
    unsigned i;

    for (i = 0; i < 4; i++) {
        size_t size = 0;

        fill(data, sizes[i], i);
        CHECK_RC(troupe_queue_put(queue, data, sizes[i], TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_get(queue, NULL, &size, TROUPE_NOW), -EMSGSIZE);
        CHECK_EQ(size, sizes[i]);
        size = sizes[i] - 1;
        CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_FOREVER),
                 -EMSGSIZE);
        CHECK_EQ(size, sizes[i]);
        CHECK_EQ(troupe_queue_qsize(queue), 1);
        memset(data, 0, sizes[i]);
        CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), 0);
        check_filled(data, size, i);
    }
    troupe_queue_free(queue);
}

/* Random sizes against a model, through many turns of the ring and over the
 * wrap-around of the message numbers. */
static void
churn(troupe_queue *queue, size_t most, unsigned rounds)
{
    static unsigned char data[20000];
    size_t sizes[4096];
    unsigned first = 0;
    unsigned next = 0;

    while (rounds-- > 0) {
        uint64_t random = harness_random();

        if ((random & 1) == 0 && next - first < 4096) {
            size_t size = (random >> 8) % (most + 1);
            int status;

            fill(data, size, next);
            status = troupe_queue_put(queue, data, size, TROUPE_NOW);
            if (status == 0)
                sizes[next++ % 4096] = size;
            else
                CHECK_RC(status, -EAGAIN);
        } else if (first != next) {
            size_t size = sizeof(data);

            CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), 0);
            CHECK_EQ(size, sizes[first % 4096]);
            check_filled(data, size, first);
            first++;
        } else {
            check_empty(queue);
        }
        CHECK_EQ(troupe_queue_qsize(queue), next - first);
    }
    CHECK_EQ(info_of(queue).items, next - first);
}

TEST(queue_survives_the_wrap_of_ring_and_numbers)
{
    unsigned i;

    for (i = 0; i < 20; i++) {
        troupe_queue *queue =
            QUEUE(.max_bytes = 1024 + i * 16, .single_producer = (i & 1) != 0,
                  .single_consumer = (i & 2) != 0);

        troupe__queue_begin_at(queue, UINT32_MAX - 100 * i, i * 7);
        churn(queue, 300, 3000);
        troupe_queue_free(queue);
    }
    for (i = 0; i < 4; i++) {
        troupe_queue *queue = QUEUE(.max_bytes = 65536);

        troupe__queue_begin_at(queue, UINT32_MAX - 100, 0);
        churn(queue, 12000, 2000);
        troupe_queue_free(queue);
    }
}

TEST(queue_frees_the_messages_in_it)
{
    static unsigned char data[300000];
    uint64_t before = 0;
    unsigned i;

    for (i = 0; i < 100; i++) {
        troupe_queue *queue = QUEUE(.max_bytes = 4 << 20);
        void *reserved;
        void *peeked;
        size_t size;

        CHECK_RC(troupe_queue_put(queue, data, sizeof(data), TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_put(queue, data, sizeof(data), TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_put(queue, data, 20, TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_reserve(queue, 100000, &reserved), 0);
        CHECK_RC(troupe_queue_commit(queue, reserved, 100000, TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_peek(queue, &peeked, &size, TROUPE_NOW), 0);
        troupe_queue_free(queue);
        /* The first round filled the caches. */
        if (i == 0)
            before = heap_used_bytes();
    }
    CHECK_EQ(heap_used_bytes(), before);
}

TEST(queue_commit_puts_what_was_reserved)
{
    troupe_queue *queue = QUEUE(.max_bytes = 1 << 20, .max_items = 3);
    static unsigned char out[100000];
    static const size_t sizes[] = {0, 10, 4096, 4097, 100000};
    unsigned i;

    for (i = 0; i < 5; i++) {
        size_t size = sizeof(out);
        void *data = NULL;

        CHECK_RC(troupe_queue_reserve(queue, sizes[i], &data), 0);
        CHECK(data != NULL);
        CHECK_EQ((uintptr_t)data & 15, 0);
        CHECK(troupe_heap_contains(data, sizes[i]));
        CHECK(troupe_queue_empty(queue));
        fill(data, sizes[i], i);
        CHECK_RC(troupe_queue_commit(queue, data, sizes[i] + 1, TROUPE_NOW),
                 -EMSGSIZE);
        CHECK_RC(troupe_queue_commit(queue, data, sizes[i], TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_commit(queue, data, sizes[i], TROUPE_NOW),
                 -EINVAL);
        CHECK_RC(troupe_queue_cancel(queue, data), -EINVAL);
        CHECK_RC(troupe_queue_get(queue, out, &size, TROUPE_NOW), 0);
        CHECK_EQ(size, sizes[i]);
        check_filled(out, size, i);
    }
    troupe_queue_free(queue);
}

TEST(queue_commit_may_be_shorter_than_the_reservation)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned char out[8192];
    size_t size = sizeof(out);
    void *data;

    CHECK_RC(troupe_queue_reserve(queue, 100000, &data), 0);
    fill(data, 8000, 1);
    CHECK_RC(troupe_queue_commit(queue, data, 8000, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_get(queue, out, &size, TROUPE_NOW), 0);
    CHECK_EQ(size, 8000);
    check_filled(out, size, 1);
    troupe_queue_free(queue);
}

TEST(queue_commit_to_a_full_queue_keeps_the_reservation)
{
    troupe_queue *queue = QUEUE(.max_items = 1);
    static const size_t sizes[] = {10, 10000};
    unsigned i;

    for (i = 0; i < 2; i++) {
        unsigned char out[10000];
        size_t size = sizeof(out);
        void *data;

        put_number(queue, 7);
        CHECK_RC(troupe_queue_reserve(queue, sizes[i], &data), 0);
        fill(data, sizes[i], i);
        CHECK_RC(troupe_queue_commit(queue, data, sizes[i], TROUPE_NOW),
                 -EAGAIN);
        CHECK_RC(
            troupe_queue_commit(queue, data, sizes[i], troupe_after(0.001)),
            -ETIMEDOUT);
        get_number(queue, 7);
        CHECK_RC(troupe_queue_commit(queue, data, sizes[i], TROUPE_FOREVER), 0);
        CHECK_RC(troupe_queue_get(queue, out, &size, TROUPE_NOW), 0);
        check_filled(out, size, i);
    }
    troupe_queue_free(queue);
}

TEST(queue_cancel_gives_the_memory_back)
{
    troupe_queue *queue = queue_of(NULL);
    troupe_queue *other = queue_of(NULL);
    uint64_t before;
    unsigned i;
    void *data;

    CHECK_RC(troupe_queue_reserve(queue, 500000, &data), 0);
    CHECK_RC(troupe_queue_cancel(queue, data), 0);
    before = heap_used_bytes();
    for (i = 0; i < 50; i++) {
        CHECK_RC(troupe_queue_reserve(queue, 500000, &data), 0);
        CHECK_RC(troupe_queue_cancel(other, data), -EINVAL);
        CHECK_RC(troupe_queue_commit(other, data, 1, TROUPE_NOW), -EINVAL);
        CHECK_RC(troupe_free(data), -EINVAL);
        CHECK_RC(troupe_queue_cancel(queue, data), 0);
        CHECK_RC(troupe_queue_cancel(queue, data), -EINVAL);
    }
    CHECK_EQ(heap_used_bytes(), before);
    troupe_queue_free(queue);
    troupe_queue_free(other);
}

TEST(queue_bounds_the_reservations_of_a_thread)
{
    troupe_queue *queue = queue_of(NULL);
    void *data[300];
    unsigned count = 0;
    int status;

    while ((status = troupe_queue_reserve(queue, 10, &data[count])) == 0)
        CHECK_LT(++count, 300);
    CHECK_RC(status, -ENOMEM);
    CHECK_GE(count, 200);
    while (count > 0)
        CHECK_RC(troupe_queue_cancel(queue, data[--count]), 0);
    troupe_queue_free(queue);
}

TEST(queue_peek_shows_the_message_in_place)
{
    troupe_queue *queue = queue_of(NULL);
    static unsigned char in[50000];
    static const size_t sizes[] = {0, 3, 4096, 50000};
    unsigned i;

    for (i = 0; i < 4; i++) {
        size_t size = 77;
        void *data = NULL;

        CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), -EAGAIN);
        CHECK_EQ(size, 77);
        fill(in, sizes[i], i);
        CHECK_RC(troupe_queue_put(queue, in, sizes[i], TROUPE_NOW), 0);
        CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), 0);
        CHECK_EQ(size, sizes[i]);
        CHECK_EQ((uintptr_t)data & 15, 0);
        check_filled(data, size, i);
        CHECK_EQ(troupe_queue_attempts(queue, data), 0);
        CHECK_EQ(troupe_queue_qsize(queue), 0);
        CHECK_EQ(info_of(queue).items, 1);
        CHECK_EQ(info_of(queue).leased, 1);
        check_empty(queue);
        CHECK_RC(troupe_queue_release(queue, (char *)data + 16), -EINVAL);
        CHECK_RC(troupe_queue_release(queue, in), -EINVAL);
        CHECK_RC(troupe_queue_release(queue, data), 0);
        CHECK_RC(troupe_queue_release(queue, data), -EINVAL);
        CHECK_EQ(info_of(queue).items, 0);
        CHECK_EQ(info_of(queue).leased, 0);
    }
    CHECK_EQ(info_of(queue).gets, 4);
    CHECK_EQ(info_of(queue).redelivered, 0);
    troupe_queue_free(queue);
}

/* Leases, gets and releases in any order against a model. */
static void
lease_churn(troupe_queue *queue, size_t most, unsigned rounds)
{
    static unsigned char data[20000];

    struct {
        void *data;
        size_t size;
        unsigned number;
    } leases[20];

    unsigned leased = 0;
    unsigned next = 0;
    unsigned seen = 0;

    while (rounds-- > 0) {
        uint64_t random = harness_random();
        size_t size = sizeof(data);
        int status;

        switch (random & 3) {
        case 0:
            size = 4 + (random >> 8) % most;
            fill(data, size, next);
            memcpy(data, &next, sizeof(next));
            status = troupe_queue_put(queue, data, size, TROUPE_NOW);
            if (status == 0)
                next++;
            else
                CHECK_RC(status, -EAGAIN);
            break;
        case 1:
            status = troupe_queue_get(queue, data, &size, TROUPE_NOW);
            if (seen == next) {
                CHECK_RC(status, -EAGAIN);
                break;
            }
            CHECK_RC(status, 0);
            CHECK_MEM(data, &seen, sizeof(seen));
            seen++;
            break;
        case 2:
            if (leased == 20)
                break;
            status = troupe_queue_peek(queue, &leases[leased].data,
                                       &leases[leased].size, TROUPE_NOW);
            if (seen == next) {
                CHECK_RC(status, -EAGAIN);
                break;
            }
            CHECK_RC(status, 0);
            CHECK_MEM(leases[leased].data, &seen, sizeof(seen));
            leases[leased++].number = seen++;
            break;
        default:
            if (leased > 0) {
                unsigned i = (unsigned)(random >> 8) % leased;

                CHECK_MEM(leases[i].data, &leases[i].number, sizeof(unsigned));
                CHECK_RC(troupe_queue_release(queue, leases[i].data), 0);
                leases[i] = leases[--leased];
            }
            break;
        }
        CHECK_EQ(troupe_queue_qsize(queue), next - seen);
    }
    CHECK_EQ(info_of(queue).leased, leased);
    CHECK_EQ(info_of(queue).items, next - seen + leased);
    CHECK_EQ(info_of(queue).gets, info_of(queue).puts - (next - seen) - leased);
    while (leased > 0)
        CHECK_RC(troupe_queue_release(queue, leases[--leased].data), 0);
    while (seen != next) {
        size_t size = sizeof(data);

        CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), 0);
        CHECK_MEM(data, &seen, sizeof(seen));
        seen++;
    }
    check_empty(queue);
    CHECK_EQ(info_of(queue).items, 0);
    CHECK_EQ(info_of(queue).bytes, 0);
}

TEST(queue_goes_on_behind_leases)
{
    unsigned i;

    for (i = 0; i < 16; i++) {
        troupe_queue *queue =
            QUEUE(.max_bytes = 2048 + i * 16, .max_items = i & 1 ? 30 : 0,
                  .single_producer = (i & 2) != 0,
                  .single_consumer = (i & 4) != 0);

        troupe__queue_begin_at(queue, UINT32_MAX - 50 * i, i * 11);
        lease_churn(queue, 200, 4000);
        troupe_queue_free(queue);
    }
    for (i = 0; i < 4; i++) {
        troupe_queue *queue = QUEUE(.max_bytes = 100000);

        lease_churn(queue, 12000, 1500);
        troupe_queue_free(queue);
    }
}

TEST(queue_counts_leased_messages_for_its_bounds)
{
    troupe_queue *queue = QUEUE(.max_items = 2);
    void *data;
    size_t size;

    put_number(queue, 1);
    put_number(queue, 2);
    CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_NOW), 0);
    get_number(queue, 2);
    CHECK(troupe_queue_full(queue));
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_NOW), -EAGAIN);
    CHECK_RC(troupe_queue_release(queue, data), 0);
    CHECK(!troupe_queue_full(queue));
    put_number(queue, 3);
    put_number(queue, 4);
    get_number(queue, 3);
    get_number(queue, 4);
    troupe_queue_free(queue);
}

TEST(queue_put_many_puts_what_fits)
{
    troupe_queue *queue = QUEUE(.max_items = 10);
    unsigned numbers[200];
    struct iovec items[200];
    size_t count = 99;
    unsigned i;

    for (i = 0; i < 200; i++) {
        numbers[i] = i;
        items[i].iov_base = &numbers[i];
        items[i].iov_len = sizeof(unsigned);
    }
    CHECK_RC(troupe_queue_put_many(queue, items, 4, &count, TROUPE_FOREVER), 0);
    CHECK_EQ(count, 4);
    CHECK_RC(troupe_queue_put_many(queue, items + 4, 100, &count, TROUPE_NOW),
             0);
    CHECK_EQ(count, 6);
    CHECK_RC(troupe_queue_put_many(queue, items + 10, 1, &count, TROUPE_NOW),
             -EAGAIN);
    CHECK_EQ(count, 0);
    CHECK_RC(troupe_queue_put_many(queue, items + 10, 1, &count,
                                   troupe_after(0.001)),
             -ETIMEDOUT);
    for (i = 0; i < 10; i++)
        get_number(queue, i);
    CHECK_RC(troupe_queue_put_many(queue, items + 10, 190, &count,
                                   troupe_after(0.001)),
             0);
    CHECK_EQ(count, 10);
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    CHECK_RC(troupe_queue_put_many(queue, items, 1, &count, TROUPE_NOW),
             -ESHUTDOWN);
    troupe_queue_free(queue);
}

TEST(queue_get_many_takes_what_is_there)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned numbers[200];
    struct iovec items[200];
    size_t count = 99;
    unsigned i;

    for (i = 0; i < 200; i++) {
        items[i].iov_base = &numbers[i];
        items[i].iov_len = sizeof(unsigned);
    }
    CHECK_RC(troupe_queue_get_many(queue, items, 200, &count, TROUPE_NOW),
             -EAGAIN);
    CHECK_EQ(count, 0);
    CHECK_RC(
        troupe_queue_get_many(queue, items, 200, &count, troupe_after(0.001)),
        -ETIMEDOUT);
    for (i = 0; i < 150; i++)
        put_number(queue, i);
    CHECK_RC(troupe_queue_get_many(queue, items, 100, &count, TROUPE_FOREVER),
             0);
    CHECK_EQ(count, 100);
    CHECK_RC(
        troupe_queue_get_many(queue, items + 100, 100, &count, TROUPE_FOREVER),
        0);
    CHECK_EQ(count, 50);
    for (i = 0; i < 150; i++) {
        CHECK_EQ(numbers[i], i);
        CHECK_EQ(items[i].iov_len, sizeof(unsigned));
    }
    troupe_queue_free(queue);
}

TEST(queue_batches_mix_small_and_large)
{
    static unsigned char in[6][9000];
    static unsigned char out[6][9000];
    static const size_t sizes[] = {10, 9000, 0, 20, 5000, 4096};
    troupe_queue *queue = queue_of(NULL);
    struct iovec items[6];
    size_t count;
    unsigned i;

    for (i = 0; i < 6; i++) {
        fill(in[i], sizes[i], i);
        items[i].iov_base = in[i];
        items[i].iov_len = sizes[i];
    }
    CHECK_RC(troupe_queue_put_many(queue, items, 6, &count, TROUPE_NOW), 0);
    CHECK_EQ(count, 6);
    for (i = 0; i < 6; i++) {
        items[i].iov_base = out[i];
        items[i].iov_len = sizes[i];
    }
    CHECK_RC(troupe_queue_get_many(queue, items, 6, &count, TROUPE_NOW), 0);
    CHECK_EQ(count, 6);
    for (i = 0; i < 6; i++) {
        CHECK_EQ(items[i].iov_len, sizes[i]);
        check_filled(out[i], sizes[i], i);
    }
    /* Room too short: ends before that one, and says so when it is first. */
    put_number(queue, 1);
    CHECK_RC(troupe_queue_put(queue, in, 100, TROUPE_NOW), 0);
    items[0].iov_len = 4;
    items[1].iov_len = 99;
    CHECK_RC(troupe_queue_get_many(queue, items, 2, &count, TROUPE_NOW), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(items[1].iov_len, 99);
    CHECK_RC(troupe_queue_get_many(queue, items + 1, 1, &count, TROUPE_NOW),
             -EMSGSIZE);
    CHECK_EQ(count, 0);
    CHECK_EQ(items[1].iov_len, 100);
    troupe_queue_free(queue);
}

TEST(queue_shutdown_lets_consumers_drain)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned char byte;
    size_t size = 1;
    void *data;
    size_t count;
    struct iovec item = {&byte, 1};

    put_number(queue, 1);
    CHECK_RC(troupe_queue_reserve(queue, 10, &data), 0);
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    CHECK(info_of(queue).shut_down);
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_FOREVER), -ESHUTDOWN);
    CHECK_RC(troupe_queue_commit(queue, data, 10, TROUPE_FOREVER), -ESHUTDOWN);
    CHECK_RC(troupe_queue_cancel(queue, data), 0);
    CHECK_RC(troupe_queue_reserve(queue, 10, &data), -ESHUTDOWN);
    CHECK_RC(troupe_queue_attach_producer(queue), -ESHUTDOWN);
    get_number(queue, 1);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EPIPE);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -EPIPE);
    CHECK_RC(troupe_queue_peek(queue, &data, &size, TROUPE_FOREVER), -EPIPE);
    CHECK_RC(troupe_queue_get_many(queue, &item, 1, &count, TROUPE_FOREVER),
             -EPIPE);
    troupe_queue_free(queue);
}

TEST(queue_close_is_for_this_member)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned char byte;
    size_t size = 1;
    void *data;
    void *leased;

    put_number(queue, 1);
    put_number(queue, 2);
    CHECK_RC(troupe_queue_reserve(queue, 10, &data), 0);
    CHECK_RC(troupe_queue_peek(queue, &leased, &size, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_RC(troupe_queue_close(queue), 0);
    size = 1;
    CHECK_RC(troupe_queue_put(queue, "", 1, TROUPE_FOREVER), -ESHUTDOWN);
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_FOREVER), -ESHUTDOWN);
    CHECK_RC(troupe_queue_commit(queue, data, 10, TROUPE_FOREVER), -ESHUTDOWN);
    CHECK_RC(troupe_queue_attach_producer(queue), -ESHUTDOWN);
    CHECK_RC(troupe_queue_attach_consumer(queue), -ESHUTDOWN);
    CHECK_RC(troupe_queue_cancel(queue, data), 0);
    CHECK_RC(troupe_queue_release(queue, leased), 0);
    CHECK_EQ(troupe_queue_qsize(queue), 1);
    troupe_queue_free(queue);
}

TEST(queue_without_parties_does_not_end)
{
    troupe_queue *queue = queue_of(NULL);
    unsigned char byte;
    size_t size = 1;

    CHECK_RC(troupe_queue_get(queue, &byte, &size, troupe_after(0.01)),
             -ETIMEDOUT);
    CHECK_EQ(info_of(queue).producers, 0);
    troupe_queue_free(queue);
}

TEST(queue_knows_its_parties)
{
    troupe_queue *queue = queue_of(NULL);

    CHECK_RC(troupe_queue_attach_producer(queue), 0);
    CHECK_RC(troupe_queue_attach_producer(queue), 0);
    CHECK_RC(troupe_queue_attach_consumer(queue), 0);
    CHECK_EQ(info_of(queue).producers, 1);
    CHECK_EQ(info_of(queue).consumers, 1);
    CHECK(!info_of(queue).producers_gone);
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_EQ(info_of(queue).producers, 0);
    CHECK(info_of(queue).producers_gone);
    CHECK(info_of(queue).consumers_gone);
    troupe_queue_free(queue);
}

TEST(queue_counts_what_went_through)
{
    troupe_queue *queue =
        QUEUE(.name = "the name of a queue, rather long", .max_items = 100,
              .max_bytes = 10000, .small_bytes = 5000);
    troupe_queue_info info;
    unsigned i;

    for (i = 0; i < 10; i++)
        put_number(queue, i);
    for (i = 0; i < 4; i++)
        get_number(queue, i);
    info = info_of(queue);
    CHECK_EQ(info.puts, 10);
    CHECK_EQ(info.gets, 4);
    CHECK_EQ(info.items, 6);
    CHECK_EQ(info.bytes, 6 * 32);
    CHECK_EQ(info.max_items, 100);
    CHECK_EQ(info.max_bytes, 10000);
    CHECK_EQ(info.small_bytes, 5000);
    CHECK_EQ(info.lost, 0);
    CHECK(!info.shut_down);
    CHECK_STR(info.name, "the name of a queue, rather lon");
    /* One of an older program, which has no room for the rest. */
    memset(&info, 0xee, sizeof(info));
    info.size = offsetof(troupe_queue_info, small_bytes);
    CHECK_RC(troupe_queue_info_get(queue, &info), 0);
    CHECK_EQ(info.size, offsetof(troupe_queue_info, small_bytes));
    CHECK_EQ(info.max_bytes, 10000);
    CHECK_EQ(info.small_bytes, UINT64_C(0xeeeeeeeeeeeeeeee));
    info.size = 7;
    CHECK_RC(troupe_queue_info_get(queue, &info), -EINVAL);
    CHECK_EQ(info.max_bytes, 10000);
    troupe_queue_free(queue);
}

TEST(queue_counts_beyond_32_bits)
{
    troupe_queue *queue = queue_of(NULL);

    troupe__queue_begin_at(queue, UINT32_MAX - 5, 0);
    churn(queue, 100, 100000);
    CHECK_GT(info_of(queue).puts, UINT32_MAX);
    CHECK_EQ(info_of(queue).puts - info_of(queue).gets, info_of(queue).items);
    troupe_queue_free(queue);
}

TEST(queue_put_fails_without_memory_and_goes_on)
{
    static unsigned char data[1 << 20];
    troupe_queue *queue;
    size_t size;
    unsigned count = 0;
    int status;
    void *reserved;

    CHECK_RC(troupe_heap_setup(
                 TROUPE_OPTIONS(troupe_heap_options, .limit = 8 << 20)),
             0);
    CHECK_RC(troupe_queue_new(&queue, TROUPE_OPTIONS(troupe_queue_options,
                                                     .max_bytes = 64 << 20,
                                                     .small_bytes = 64 << 20)),
             -ENOMEM);
    queue = QUEUE(.max_bytes = 64 << 20, .small_bytes = 65536);
    while ((status = troupe_queue_put(queue, data, sizeof(data), TROUPE_NOW)) ==
           0)
        count++;
    CHECK_RC(status, -ENOMEM);
    CHECK_GE(count, 5);
    CHECK_RC(troupe_queue_reserve(queue, sizeof(data), &reserved), -ENOMEM);
    /* Small ones have their memory already. */
    put_number(queue, 3);
    size = sizeof(data);
    CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_put(queue, data, sizeof(data), TROUPE_NOW), 0);
    troupe_queue_free(queue);
}

/* Whatever is written over a queue's memory, its calls end, and stay inside the
 * heap. */
TEST(queue_survives_damage)
{
    unsigned round;

    for (round = 0; round < 400; round++) {
        troupe_queue *queue = QUEUE(.max_bytes = 2048);
        unsigned char data[5000];
        unsigned char *ring;
        unsigned i;

        for (i = 0; i < 8; i++) {
            int status = troupe_queue_put(queue, data, i == 3 ? 300 : i * 20,
                                          TROUPE_NOW);

            CHECK(status == 0 || status == -EAGAIN);
        }
        ring = (unsigned char *)troupe__queue_record(queue, 0);
        for (i = 0; i < 4; i++) {
            uint64_t random = harness_random();

            if (round % 6 == 0)
                queue->get.head = random;
            else if (round % 6 == 1)
                queue->put.tail = random;
            else if (round % 6 == 2)
                queue->put.seen = random;
            else if (round % 6 == 3)
                queue->get.seen = random;
            else if (round % 6 == 4)
                queue->cells = (uint32_t)random;
            ring[(random >> 8) % 1000] = (unsigned char)random;
        }
        for (i = 0; i < 20; i++) {
            size_t size = sizeof(data);
            void *leased;
            int status;

            status = troupe_queue_get(queue, data, &size, TROUPE_NOW);
            CHECK(status == 0 || status == -EAGAIN || status == -EBADMSG);
            status = troupe_queue_put(queue, data, 100, TROUPE_NOW);
            CHECK(status == 0 || status == -EAGAIN || status == -EBADMSG);
            status = troupe_queue_peek(queue, &leased, &size, TROUPE_NOW);
            CHECK(status == 0 || status == -EAGAIN || status == -EBADMSG);
            (void)info_of(queue);
        }
        troupe_queue_free(queue);
    }
}

/* All positions are held against the ring's size, which is itself among what
 * may be written over. */
TEST(queue_whose_size_was_written_over_stays_inside)
{
    troupe_queue *queue = QUEUE(.max_bytes = 2048);
    const uint32_t cells = queue->cells;
    unsigned char data[100] = {0};
    size_t size = sizeof(data);

    queue->cells = 2 * cells;
    troupe__queue_begin_at(queue, 0, cells + 1);
    CHECK_RC(troupe_queue_put(queue, data, 100, TROUPE_NOW), -EBADMSG);
    queue->put.tail = UINT64_C(1) << 32;
    CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), -EBADMSG);
    queue->cells = cells;
    troupe__queue_begin_at(queue, 0, 0);
    /* What a producer remembers of the head is believed no more than that. */
    queue->put.seen = UINT64_C(99) << 32 | (cells + 100);
    queue->put.tail = UINT64_C(100) << 32 | (cells - 2);
    queue->get.head = queue->put.tail;
    CHECK_RC(troupe_queue_put(queue, data, 100, TROUPE_NOW), 0);
    CHECK_LT(queue->put.tail & UINT32_MAX, cells);
    troupe__queue_begin_at(queue, 0, 0);
    CHECK_RC(troupe_queue_put(queue, data, 100, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_get(queue, data, &size, TROUPE_NOW), 0);
    troupe_queue_free(queue);
}
