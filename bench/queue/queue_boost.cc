/* SPDX-License-Identifier: Apache-2.0 */
/* boost: boost::interprocess::message_queue, all messages of one priority. */
#include "message.h"

#include <boost/interprocess/ipc/message_queue.hpp>

namespace ipc = boost::interprocess;

struct channel {
    ipc::message_queue *queue;
};

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    static unsigned number;
    char what[16];
    char name[128];

    snprintf(what, sizeof what, "boost%u", number++);
    bench_name(name, sizeof name, what);
    struct channel *channel = new struct channel;
    channel->queue = new ipc::message_queue(
        ipc::create_only, name, bench_depth(arguments->size), arguments->size);
    /* The members inherit the mapping; the name is not needed any more. */
    ipc::message_queue::remove(name);
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
    channel->queue->send(data, size, 0); /* throws when it fails */
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    ipc::message_queue::size_type got = 0;
    unsigned priority = 0;

    channel->queue->receive(data, size, got, priority);
    return got;
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
    delete channel->queue;
    delete channel;
}

#include "queue_loops.h"

int
main(int argc, char **argv)
{
    queue_main(argc, argv);
    return 0;
}
