/* SPDX-License-Identifier: Apache-2.0 */
/* nng: push and pull over ipc://, with a buffer on each side, as deep as the
 * others' or as nng allows. */
#define CHANNEL_LINGERS 1

#include "message.h"

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <stdio.h>
#include <unistd.h>

enum { DEPTH_MAX = 8192 };

struct channel {
    int depth;
    nng_socket socket;
    char name[256];
};

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_buffer(sizeof *channel);

    bench_check(arguments->consumers == 1 && arguments->producers == 1,
                "one producer and one consumer");
    channel->depth = (int)bench_depth(arguments->size);
    if (channel->depth > DEPTH_MAX)
        channel->depth = DEPTH_MAX;
    snprintf(channel->name, sizeof channel->name, "ipc://%s/nng",
             bench_directory());
    return channel;
}

static void
check(int result, const char *what)
{
    bench_check(result == 0, "%s: %s", what, nng_strerror(result));
}

static void
channel_open(struct channel *channel, enum side side, unsigned index)
{
    (void)index;
    if (side == SIDE_CONSUMER) {
        check(nng_pull0_open(&channel->socket), "nng_pull0_open");
        /* The default refuses messages of more than 1 MiB. */
        check(nng_socket_set_size(channel->socket, NNG_OPT_RECVMAXSZ, 0),
              "NNG_OPT_RECVMAXSZ");
        /* Not all versions have a buffer on this side. */
        nng_socket_set_int(channel->socket, NNG_OPT_RECVBUF, channel->depth);
        check(nng_listen(channel->socket, channel->name, NULL, 0),
              "nng_listen");
    } else {
        check(nng_push0_open(&channel->socket), "nng_push0_open");
        check(nng_socket_set_int(channel->socket, NNG_OPT_SENDBUF,
                                 channel->depth),
              "NNG_OPT_SENDBUF");
        check(nng_dial(channel->socket, channel->name, NULL, 0), "nng_dial");
    }
}

static inline void
channel_put(struct channel *channel, const void *data, size_t size)
{
    /* Without NNG_FLAG_ALLOC it copies and does not write to the data. */
    int result = nng_send(channel->socket, (void *)(uintptr_t)data, size, 0);

    bench_check(result == 0, "nng_send: %s", nng_strerror(result));
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    int result = nng_recv(channel->socket, data, &size, 0);

    bench_check(result == 0, "nng_recv: %s", nng_strerror(result));
    return size;
}

static void
channel_close(struct channel *channel, enum side side)
{
    (void)side;
    nng_close(channel->socket);
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
