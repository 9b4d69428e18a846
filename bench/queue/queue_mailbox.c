/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for one message and a word that says whether it is full, for round
 * trips. yardstick:futex: who has to wait sleeps at once. yardstick:spin: who
 * has to wait polls, and where both sides share a core, yields.
 */
#include "message.h"

#include <sched.h>

enum { MAILBOX_SIZE = 4096 };

struct channel {
    uint32_t full __attribute__((aligned(BENCH_LINE)));
    int sleeps;
    int yields;
    unsigned char bytes[MAILBOX_SIZE] __attribute__((aligned(BENCH_LINE)));
};

static struct channel *
channel_new(const struct bench_arguments *arguments)
{
    struct channel *channel = bench_shared(sizeof *channel);

    bench_check(arguments->size <= MAILBOX_SIZE, "too long for a mailbox");
    channel->sleeps = strcmp(arguments->system, "yardstick:futex") == 0;
    bench_check(channel->sleeps ||
                    strcmp(arguments->system, "yardstick:spin") == 0,
                "--system: yardstick:futex or yardstick:spin");
    channel->yields = arguments->placement != BENCH_TWO || bench_cpus() == 1;
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
wait_for(struct channel *channel, uint32_t full)
{
    /* acquire: pairs with the release in turn_over() */
    while (__atomic_load_n(&channel->full, __ATOMIC_ACQUIRE) != full) {
        if (channel->sleeps)
            bench_futex_wait(&channel->full, !full, 1000000000);
        else if (channel->yields)
            sched_yield();
        else
            bench_pause();
    }
}

static inline void
turn_over(struct channel *channel, uint32_t full)
{
    __atomic_store_n(&channel->full, full, __ATOMIC_RELEASE);
}

static inline void
channel_put(struct channel *channel, const void *data, size_t size)
{
    wait_for(channel, 0);
    memcpy(channel->bytes, data, size);
    turn_over(channel, 1);
    if (channel->sleeps)
        bench_futex_wake(&channel->full, 1);
}

static inline size_t
channel_get(struct channel *channel, void *data, size_t size)
{
    wait_for(channel, 1);
    memcpy(data, channel->bytes, size);
    /* In a round trip the answer tells the other side, nobody waits here. */
    turn_over(channel, 0);
    return size;
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
