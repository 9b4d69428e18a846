/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zeromq: PUSH and PULL over ipc://. Every consumer listens, every producer
 * connects to all of them and spreads its messages, as the library's guide
 * has it. So messages of different producers do not wait for each other, and
 * a last message cannot end a consumer: it looks every 20 ms of silence
 * whether all that was sent has come. That silence is not timed.
 */
#define CHANNEL_UNORDERED 1
#define CHANNEL_LINGERS   1

#include "message.h"

#include <errno.h>
#include <stdio.h>
#include <zmq.h>

struct channel {
    unsigned consumers;
    int depth;
    void *context;
    void *socket;
    char name[256];
};

static void
set_option(void *socket, int option, int value)
{
    bench_check(zmq_setsockopt(socket, option, &value, sizeof value) == 0,
                "zmq_setsockopt: %s", zmq_strerror(errno));
}

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_buffer(sizeof *channel);

    channel->consumers = arguments->consumers;
    channel->depth = (int)bench_depth(arguments->size);
    snprintf(channel->name, sizeof channel->name, "ipc://%s/zmq",
             bench_directory());
    return channel;
}

static void
channel_open(struct channel *channel, enum side side, unsigned index)
{
    char name[512];
    unsigned i;
    int result = 0;

    /* Each member has its own: contexts do not survive a fork. */
    channel->context = zmq_ctx_new();
    channel->socket = zmq_socket(channel->context,
                                 side == SIDE_CONSUMER ? ZMQ_PULL : ZMQ_PUSH);
    bench_check(channel->socket, "zmq_socket: %s", zmq_strerror(errno));
    set_option(channel->socket, ZMQ_SNDHWM, channel->depth);
    set_option(channel->socket, ZMQ_RCVHWM, channel->depth);
    if (side == SIDE_CONSUMER) {
        set_option(channel->socket, ZMQ_RCVTIMEO, 20);
        snprintf(name, sizeof name, "%s%u", channel->name, index);
        result = zmq_bind(channel->socket, name);
    } else {
        for (i = 0; i < channel->consumers && result == 0; i++) {
            snprintf(name, sizeof name, "%s%u", channel->name, i);
            result = zmq_connect(channel->socket, name);
        }
    }
    bench_check(result == 0, "%s: %s", channel->name, zmq_strerror(errno));
}

static inline void
channel_put(struct channel *channel, const void *data, size_t size)
{
    bench_check(zmq_send(channel->socket, data, size, 0) == (int)size,
                "zmq_send: %s", zmq_strerror(errno));
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    int got = zmq_recv(channel->socket, data, size, 0);

    bench_check(got >= 0 || errno == EAGAIN, "zmq_recv: %s",
                zmq_strerror(errno));
    return got < 0 ? 0 : (size_t)got;
}

static void
channel_close(struct channel *channel, enum side side)
{
    (void)side;
    zmq_close(channel->socket);
    /* Lingers until all messages have left. */
    zmq_ctx_term(channel->context);
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
