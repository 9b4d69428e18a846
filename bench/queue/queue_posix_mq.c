/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posix-mq: mq_send() and mq_receive(), all messages of one priority. As deep
 * as the others where the system's limits let us, else as deep as they do.
 */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

struct channel {
    mqd_t queue;
};

/*
 * The limits are settings of the IPC namespace. With the privilege to have
 * one of our own we raise them there, where nobody else sees it.
 */
static void
raise_limits(const struct bench_arguments *arguments)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    FILE *file;

    setrlimit(RLIMIT_MSGQUEUE, &unlimited);
    if (unshare(CLONE_NEWIPC) != 0)
        return;
    file = fopen("/proc/sys/fs/mqueue/msg_max", "we");
    if (file) {
        fprintf(file, "%u", bench_depth(arguments->size));
        fclose(file);
    }
    file = fopen("/proc/sys/fs/mqueue/msgsize_max", "we");
    if (file) {
        fprintf(file, "%zu", arguments->size < 8192 ? 8192 : arguments->size);
        fclose(file);
    }
}

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_shared(sizeof *channel);
    struct mq_attr attributes = {0};
    char name[128] = "/";
    long depth;

    bench_name(name + 1, sizeof name - 1, "mq");
    raise_limits(arguments);
    attributes.mq_msgsize = (long)arguments->size;
    channel->queue = (mqd_t)-1;
    for (depth = bench_depth(arguments->size); depth > 0;
         depth -= (depth + 15) / 16) {
        attributes.mq_maxmsg = depth;
        channel->queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                                 0600, &attributes);
        if (channel->queue != (mqd_t)-1)
            break;
    }
    if (channel->queue == (mqd_t)-1)
        bench_refuse("messages of %zu bytes: %s (see mq_overview(7): "
                     "msgsize_max, RLIMIT_MSGQUEUE)",
                     arguments->size, strerror(errno));
    /* The members inherit it; nothing is left behind whatever happens. */
    mq_unlink(name);
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
    bench_check(mq_send(channel->queue, data, size, 0) == 0, "mq_send: %s",
                strerror(errno));
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    ssize_t got = mq_receive(channel->queue, data, size, NULL);

    bench_check(got >= 0, "mq_receive: %s", strerror(errno));
    return (size_t)got;
}

static void
channel_close(struct channel *channel, enum side side)
{
    (void)side;
    mq_close(channel->queue);
}

static void
channel_free(struct channel *channel)
{
    mq_close(channel->queue);
}

#include "queue_loops.h"

int
main(int argc, char **argv)
{
    queue_main(argc, argv);
    return 0;
}
