/* SPDX-License-Identifier: Apache-2.0 */
/* yardstick:spsc, see spsc_ring.h. */
#include "message.h"
#include "spsc_ring.h"

struct channel {
    struct spsc_ring *ring;
};

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_shared(sizeof *channel);

    bench_check(arguments->producers == 1 && arguments->consumers == 1,
                "one producer and one consumer");
    channel->ring = spsc_new(
        arguments->size, arguments->placement != BENCH_ONE && bench_cpus() > 1);
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
    spsc_put(channel->ring, data, size);
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    return spsc_get(channel->ring, data, size);
}

static void
channel_close(struct channel *channel, enum side side)
{
    (void)channel;
    (void)side;
}

static void
channel_free(struct channel *channel)
{
    (void)channel;
}

#include "queue_loops.h"

int
main(int argc, char **argv)
{
    queue_main(argc, argv);
    return 0;
}
