/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe: with room for as many messages as the others, and no more than the
 * 1 MiB that the system grants to everybody. A message of up to PIPE_BUF bytes
 * is written and read as one piece, so several producers and consumers may
 * share it. The pieces of larger ones could mix: there a lock keeps each side
 * to one at a time. unix-stream: a socket pair. unix-seqpacket: one that keeps
 * the borders of messages, each sent with one call.
 */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE_MOST = 1 << 20 };

struct channel {
    int out;
    int in;
    int is_pipe;
    int keeps_borders;
    int takes_turns;
    pthread_mutex_t turns[2]; /* a side's, where it takes turns */
};

static void
init_turns(struct channel *channel, const struct bench_arguments *arguments)
{
    pthread_mutexattr_t shared;

    channel->takes_turns = arguments->producers + arguments->consumers > 2 &&
                           arguments->size > PIPE_BUF;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&channel->turns[SIDE_PRODUCER], &shared);
    pthread_mutex_init(&channel->turns[SIDE_CONSUMER], &shared);
}

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_shared(sizeof *channel);
    int files[2];
    int room = 4 << 20;
    int type;
    size_t bytes = bench_depth(arguments->size) * arguments->size;

    channel->is_pipe = strcmp(arguments->system, "pipe") == 0;
    channel->keeps_borders = strcmp(arguments->system, "unix-seqpacket") == 0;
    if (channel->is_pipe) {
        bench_check(pipe2(files, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
        /* The kernel rounds up to a power of two. */
        bench_check(fcntl(files[1], F_SETPIPE_SZ,
                          bytes < PIPE_MOST ? (int)bytes : PIPE_MOST) > 0,
                    "F_SETPIPE_SZ: %s", strerror(errno));
    } else {
        bench_check(channel->keeps_borders ||
                        strcmp(arguments->system, "unix-stream") == 0,
                    "--system: pipe, unix-stream or unix-seqpacket");
        type = channel->keeps_borders ? SOCK_SEQPACKET : SOCK_STREAM;
        bench_check(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, files) == 0,
                    "socketpair: %s", strerror(errno));
        /* As far as the system lets us: first by privilege, then without. */
        if (setsockopt(files[1], SOL_SOCKET, SO_SNDBUFFORCE, &room,
                       sizeof room) != 0)
            setsockopt(files[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
    init_turns(channel, arguments);
    channel->in = files[0];
    channel->out = files[1];
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
    const unsigned char *from = data;
    size_t done = 0;

    if (channel->takes_turns)
        pthread_mutex_lock(&channel->turns[SIDE_PRODUCER]);
    while (done < size) {
        ssize_t now = write(channel->out, from + done, size - done);

        bench_check(now > 0, "write: %s", strerror(errno));
        bench_check(!channel->keeps_borders || (size_t)now == size,
                    "a part of a message was sent");
        done += (size_t)now;
    }
    if (channel->takes_turns)
        pthread_mutex_unlock(&channel->turns[SIDE_PRODUCER]);
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    unsigned char *to = data;
    size_t done = 0;

    if (channel->takes_turns)
        pthread_mutex_lock(&channel->turns[SIDE_CONSUMER]);
    while (done < size) {
        ssize_t now = read(channel->in, to + done, size - done);

        bench_check(now > 0, "read: %s", strerror(errno));
        done += (size_t)now;
        if (channel->keeps_borders)
            break;
    }
    if (channel->takes_turns)
        pthread_mutex_unlock(&channel->turns[SIDE_CONSUMER]);
    return done;
}

static void
channel_close(struct channel *channel, enum side side)
{
    close(side == SIDE_PRODUCER ? channel->out : channel->in);
}

static void
channel_free(struct channel *channel)
{
    close(channel->in);
    close(channel->out);
}

#include "queue_loops.h"

int
main(int argc, char **argv)
{
    queue_main(argc, argv);
    return 0;
}
