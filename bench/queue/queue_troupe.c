/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe: put and get without deadline. The queue is the default one, which
 * has room for as many messages as the other queues get; only for messages
 * larger than those kept in it, its bound in bytes is raised to that. With
 * --system spsc it is told that there is one producer and one consumer.
 *
 * "hand-over": the block lies in the family's heap, so its address is sent.
 * "filled": reserve, fill, commit; peek, read, release.
 */
#define CHANNEL_BLOCKS 1

#include "message.h"

#include <troupe.h>

enum { IN_PLACE_DEPTH = 4 };

struct channel {
    troupe_queue *queue;
};

static void
check(int status, const char *what)
{
    bench_check(status == 0, "%s: %s %s", what, troupe_strerror(status),
                troupe_error_detail());
}

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_buffer(sizeof *channel);
    troupe_queue_options options = {.size = sizeof options};
    troupe_queue_info info = {.size = sizeof info};
    size_t depth = strcmp(arguments->mode, "filled") == 0
                       ? IN_PLACE_DEPTH
                       : bench_depth(arguments->size);

    options.single_producer = strcmp(arguments->system, "spsc") == 0;
    options.single_consumer = options.single_producer;
    if (arguments->size > TROUPE_QUEUE_SMALL &&
        strcmp(arguments->mode, "hand-over") != 0)
        options.max_bytes = depth * TROUPE_QUEUE_STORED(arguments->size);
    check(troupe_queue_new(&channel->queue, &options), "troupe_queue_new");
    check(troupe_queue_info_get(channel->queue, &info),
          "troupe_queue_info_get");
    bench_check(strcmp(arguments->mode, "hand-over") == 0 ||
                    info.max_bytes / TROUPE_QUEUE_STORED(arguments->size) ==
                        depth,
                "the queue is not as deep as the others");
    return channel;
}

static void
channel_open(struct channel *channel, enum side side, unsigned index)
{
    (void)channel;
    (void)side;
    (void)index;
}

static inline void
channel_put(struct channel *channel, const void *data, size_t size)
{
    int status = troupe_queue_put(channel->queue, data, size, TROUPE_FOREVER);

    bench_check(status == 0, "put: %s", troupe_strerror(status));
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    int status = troupe_queue_get(channel->queue, data, &size, TROUPE_FOREVER);

    bench_check(status == 0, "get: %s", troupe_strerror(status));
    return size;
}

static void *
channel_block_new(struct channel *channel, size_t size)
{
    void *block = troupe_alloc(size);

    (void)channel;
    bench_check(block, "troupe_alloc");
    return block;
}

static void
channel_block_put(struct channel *channel, void *block, size_t size)
{
    (void)size;
    channel_put(channel, &block, sizeof block);
}

static const void *
channel_block_get(struct channel *channel, void *buffer, size_t size)
{
    void *block = NULL;

    (void)buffer;
    bench_check(channel_get(channel, &block, sizeof block) == sizeof block &&
                    troupe_heap_contains(block, size),
                "not a block");
    return block;
}

static void *
channel_reserve(struct channel *channel, void *buffer, size_t size)
{
    void *block = NULL;

    (void)buffer;
    check(troupe_queue_reserve(channel->queue, size, &block), "reserve");
    return block;
}

static void
channel_commit(struct channel *channel, void *block, size_t size)
{
    check(troupe_queue_commit(channel->queue, block, size, TROUPE_FOREVER),
          "commit");
}

static const void *
channel_peek(struct channel *channel, void *buffer, size_t size)
{
    void *block = NULL;
    size_t got = 0;

    (void)buffer;
    check(troupe_queue_peek(channel->queue, &block, &got, TROUPE_FOREVER),
          "peek");
    bench_check(got == size, "a block of %zu bytes", got);
    return block;
}

static void
channel_release(struct channel *channel, const void *block)
{
    check(troupe_queue_release(channel->queue, (void *)(uintptr_t)block),
          "release");
}

static void
channel_close(struct channel *channel, enum side side)
{
    (void)side;
    check(troupe_queue_close(channel->queue), "close");
}

static void
channel_free(struct channel *channel)
{
    troupe_queue_free(channel->queue);
}

#include "queue_loops.h"

int
main(int argc, char **argv)
{
    queue_main(argc, argv);
    return 0;
}
