/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of every queue. A program defines `struct channel` and
 *
 *     static struct channel *channel_new(const struct bench_arguments *);
 *     static void channel_open(struct channel *, enum side, unsigned index);
 *     static inline void channel_put(struct channel *, const void *, size_t);
 *     static inline size_t channel_get(struct channel *, void *, size_t);
 *     static void channel_close(struct channel *, enum side);
 *     static void channel_free(struct channel *);
 *
 * and includes this file, so that no queue pays for an indirect call.
 * _new and _free run in the measuring process, the others in the members;
 * consumers open before producers. Both calls block. A get that returns 0 had
 * nothing for a while (only a system that cannot deliver in the order of the
 * producers' puts does so; it defines CHANNEL_UNORDERED). Where messages on
 * their way are lost when their producer leaves, CHANNEL_LINGERS keeps it
 * until the consumers have ended; nobody times that.
 *
 * Mode "throughput": producers put messages until the time is over, consumers
 * get and check them. Messages per second, from the opening of the gate to
 * the end of the last member. Everybody has the same time, not the same
 * number of messages: the slowest system would need minutes for what keeps
 * the fastest busy for long enough to be timed.
 *
 * Mode "ping-pong": a message goes there and back, one at a time: us for a
 * round trip, median of batches.
 *
 * Mode "hand-over": a filled block changes hands, one at a time: how many in
 * a second, from the median time from just before the put to just after the
 * get. After the get, outside that time, one word of each page is checked.
 * The first few, which make pages and caches warm, do not count.
 *
 * Mode "filled": the producer fills a whole block each time, the consumer
 * reads all of it and checks the sum: blocks per second, as in "throughput",
 * but from the end of the first few on.
 */
#ifndef BENCH_QUEUE_LOOPS_H
#define BENCH_QUEUE_LOOPS_H

#include "message.h"

#include <sched.h>

enum {
    PING_PONG_BATCH = 64,
    PING_PONG_BATCHES_MAX = 1 << 16,
    HAND_OVERS_MAX = 1 << 20,
    HAND_OVER_BLOCKS = 4,
    WARM_UP = 2 * HAND_OVER_BLOCKS, /* blocks that do not count */
    BLOCKS_MIN = WARM_UP + 4,
};

struct queue_run {
    struct bench_arguments arguments;
    int are_apart; /* the sides have a core each */
    struct channel *channels[2];
    double *samples;
    struct hand_over *hand_over;
};

struct hand_over {
    uint64_t taken __attribute__((aligned(BENCH_LINE)));
    int64_t before __attribute__((aligned(BENCH_LINE)));
    uint64_t count __attribute__((aligned(BENCH_LINE)));
};

/* Where a channel does not know better, blocks are messages like others. */
#ifndef CHANNEL_BLOCKS
static inline void *
channel_block_new(struct channel *channel, size_t size)
{
    (void)channel;
    return bench_buffer(size);
}

static inline void
channel_block_put(struct channel *channel, void *block, size_t size)
{
    channel_put(channel, block, size);
}

static inline const void *
channel_block_get(struct channel *channel, void *buffer, size_t size)
{
    bench_check(channel_get(channel, buffer, size) == size, "short block");
    return buffer;
}

/* Room to be filled in place, and what was filled to be read in place. */
static inline void *
channel_reserve(struct channel *channel, void *buffer, size_t size)
{
    (void)channel;
    (void)size;
    return buffer;
}

static inline void
channel_commit(struct channel *channel, void *block, size_t size)
{
    channel_put(channel, block, size);
}

static inline const void *
channel_peek(struct channel *channel, void *buffer, size_t size)
{
    bench_check(channel_get(channel, buffer, size) == size, "short block");
    return buffer;
}

static inline void
channel_release(struct channel *channel, const void *block)
{
    (void)channel;
    (void)block;
}
#endif

/* What was sent may be lost when its producer leaves before it arrives. */
static void
leave_producer(struct bench_team *team, struct channel *channel)
{
#ifdef CHANNEL_LINGERS
    uint32_t *left = &team->control->consumers_left;
    uint32_t seen;

    while ((seen = __atomic_load_n(left, __ATOMIC_ACQUIRE)) != 0)
        bench_futex_wait(left, seen, 100000000);
#else
    (void)team;
#endif
    channel_close(channel, SIDE_PRODUCER);
}

static void
leave_consumer(struct bench_team *team, struct channel *channel)
{
    __atomic_sub_fetch(&team->control->consumers_left, 1, __ATOMIC_RELEASE);
    bench_futex_wake(&team->control->consumers_left, BENCH_MEMBERS_MAX);
    channel_close(channel, SIDE_CONSUMER);
}

/* The last producer to finish ends every consumer. */
static void
end_consumers(struct bench_team *team, struct queue_run *run,
              unsigned char *message)
{
    unsigned i;

    if (__atomic_sub_fetch(&team->control->producers_left, 1,
                           __ATOMIC_ACQ_REL) != 0)
        return;
#ifndef CHANNEL_UNORDERED
    message_stamp(message, run->arguments.size, MESSAGE_END);
    for (i = 0; i < run->arguments.consumers; i++)
        channel_put(run->channels[0], message, run->arguments.size);
#else
    (void)run;
    (void)message;
    (void)i;
#endif
}

static void
produce(struct bench_team *team, struct bench_cell *cell, unsigned index,
        void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    size_t size = run->arguments.size;
    unsigned char *message = (unsigned char *)bench_buffer(size);
    uint64_t word = (uint64_t)index << MESSAGE_NUMBER_BITS;
    uint64_t count = 0;
    uint64_t sum = 0;

    channel_open(channel, SIDE_PRODUCER, index - run->arguments.consumers);
    bench_team_ready(team);
    while (!bench_stopped(team)) {
        message_stamp(message, size, word);
        channel_put(channel, message, size);
        sum += word;
        count++;
        word++;
    }
    cell->count = count;
    cell->sum = sum;
    cell->end = bench_now();
    end_consumers(team, run, message);
    leave_producer(team, channel);
}

#ifdef CHANNEL_UNORDERED
/* Producers are done, and nothing that they sent is still on its way. */
static int
is_drained(struct bench_team *team, const struct queue_run *run)
{
    uint64_t got = 0;
    uint64_t sent = 0;
    unsigned i;

    for (i = 0; i < run->arguments.consumers + run->arguments.producers; i++) {
        uint64_t count =
            __atomic_load_n(&team->control->cells[i].count, __ATOMIC_RELAXED);

        if (i < run->arguments.consumers)
            got += count;
        else
            sent += count;
    }
    return got == sent;
}
#endif

static void
consume(struct bench_team *team, struct bench_cell *cell, unsigned index,
        void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    size_t size = run->arguments.size;
    unsigned char *message = (unsigned char *)bench_buffer(size);
    uint64_t next[BENCH_MEMBERS_MAX] = {0};
    int is_single = run->arguments.consumers == 1;
    uint64_t count = 0;
    uint64_t sum = 0;

    channel_open(channel, SIDE_CONSUMER, index);
    bench_team_ready(team);
    for (;;) {
        uint64_t number;
        uint64_t word;
        uint64_t producer;
        size_t got = channel_get(channel, message, size);

#ifdef CHANNEL_UNORDERED
        if (__atomic_load_n(&team->control->producers_left, __ATOMIC_ACQUIRE) ==
            0) {
            __atomic_store_n(&cell->count, count + (got != 0),
                             __ATOMIC_RELAXED);
            if (got != 0)
                cell->end = bench_now();
            else if (is_drained(team, run))
                break;
        }
        if (got == 0)
            continue;
#endif
        bench_check(got == size, "a message of %zu bytes", got);
        word = message_check(message, size);
        if (word == MESSAGE_END)
            break;
        producer = word >> MESSAGE_NUMBER_BITS;
        number = word & (((uint64_t)1 << MESSAGE_NUMBER_BITS) - 1);
        bench_check(producer < BENCH_MEMBERS_MAX, "an unknown producer");
        bench_check(is_single ? number == next[producer]
                              : number >= next[producer],
                    "message %llu of producer %llu out of order",
                    (unsigned long long)number, (unsigned long long)producer);
        next[producer] = number + 1;
        sum += word;
        count++;
    }
    cell->count = count;
    cell->sum = sum;
#ifndef CHANNEL_UNORDERED
    cell->end = bench_now();
#endif
    leave_consumer(team, channel);
}

static void
produce_filled(struct bench_team *team, struct bench_cell *cell, unsigned index,
               void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    size_t size = run->arguments.size;
    void *buffer = bench_buffer(size);
    uint64_t count = 0;
    int last = 0;
    void *block;

    (void)index;
    channel_open(channel, SIDE_PRODUCER, 0);
    bench_team_ready(team);
    while (!last) {
        last = bench_stopped(team) && count >= BLOCKS_MIN - 1;
        block = channel_reserve(channel, buffer, size);
        block_fill((uint64_t *)block, size, last ? MESSAGE_END : count);
        channel_commit(channel, block, size);
        count++;
    }
    cell->count = count;
    channel_close(channel, SIDE_PRODUCER);
}

static void
consume_filled(struct bench_team *team, struct bench_cell *cell, unsigned index,
               void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    size_t size = run->arguments.size;
    void *buffer = bench_buffer(size);
    uint64_t count = 0;
    int last = 0;

    (void)index;
    channel_open(channel, SIDE_CONSUMER, 0);
    bench_team_ready(team);
    while (!last) {
        const uint64_t *block =
            (const uint64_t *)channel_peek(channel, buffer, size);

        last = block[0] == MESSAGE_END;
        block_check(block, size, last ? MESSAGE_END : count);
        channel_release(channel, block);
        count++;
        if (count == WARM_UP)
            cell->start = bench_now();
    }
    cell->count = count;
    cell->end = bench_now();
    channel_close(channel, SIDE_CONSUMER);
}

/* Adds up what the members did, and checks that nothing was lost. */
static void
report_throughput(struct bench_team *team, const struct queue_run *run)
{
    uint64_t count[2] = {0, 0};
    uint64_t sum[2] = {0, 0};
    int64_t end = 0;
    unsigned i;

    for (i = 0; i < team->members; i++) {
        struct bench_cell *cell = &team->control->cells[i];
        int side = i >= run->arguments.consumers;

        count[side] += cell->count;
        sum[side] += cell->sum;
        if (cell->end > end)
            end = cell->end;
    }
    bench_check(count[0] == count[1] && sum[0] == sum[1],
                "%llu messages put, %llu got, sums %s",
                (unsigned long long)count[1], (unsigned long long)count[0],
                sum[0] == sum[1] ? "equal" : "different");
    bench_report("msg/s",
                 (double)count[0] / ((double)(end - team->start) / 1e9));
}

static void
report_filled(struct bench_team *team)
{
    struct bench_cell *consumer = &team->control->cells[0];
    uint64_t put = team->control->cells[1].count;

    bench_check(put == consumer->count, "%llu blocks put, %llu got",
                (unsigned long long)put, (unsigned long long)consumer->count);
    bench_report("msg/s",
                 (double)(consumer->count - WARM_UP) /
                     ((double)(consumer->end - consumer->start) / 1e9));
}

static void
ping(struct bench_team *team, struct bench_cell *cell, unsigned index,
     void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    size_t size = run->arguments.size;
    unsigned char *message = (unsigned char *)bench_buffer(size);
    uint64_t batches = 0;
    uint64_t word = 0;
    int last = 0;
    unsigned i;

    (void)index;
    channel_open(run->channels[0], SIDE_PRODUCER, 0);
    channel_open(run->channels[1], SIDE_CONSUMER, 0);
    bench_team_ready(team);
    while (!last) {
        int64_t before = bench_now();

        last = bench_stopped(team) || batches == PING_PONG_BATCHES_MAX - 1;
        for (i = 0; i < PING_PONG_BATCH; i++) {
            message_stamp(message, size, word);
            channel_put(run->channels[0], message, size);
            bench_check(channel_get(run->channels[1], message, size) == size,
                        "a short answer");
            bench_check(message_check(message, size) == ~word,
                        "a wrong answer");
            word++;
        }
        run->samples[batches++] =
            (double)(bench_now() - before) / 1e3 / PING_PONG_BATCH;
    }
    message_stamp(message, size, MESSAGE_END);
    channel_put(run->channels[0], message, size);
    cell->count = batches;
    channel_close(run->channels[0], SIDE_PRODUCER);
    channel_close(run->channels[1], SIDE_CONSUMER);
}

static void
pong(struct bench_team *team, struct bench_cell *cell, unsigned index,
     void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    size_t size = run->arguments.size;
    unsigned char *message = (unsigned char *)bench_buffer(size);
    uint64_t word;

    (void)index;
    channel_open(run->channels[0], SIDE_CONSUMER, 0);
    channel_open(run->channels[1], SIDE_PRODUCER, 0);
    bench_team_ready(team);
    for (;;) {
        bench_check(channel_get(run->channels[0], message, size) == size,
                    "a short message");
        word = message_check(message, size);
        if (word == MESSAGE_END)
            break;
        message_stamp(message, size, ~word);
        channel_put(run->channels[1], message, size);
        cell->count++;
    }
    channel_close(run->channels[0], SIDE_CONSUMER);
    channel_close(run->channels[1], SIDE_PRODUCER);
}

/*
 * Where the other side has a core of its own, ours is not given away: whoever
 * else wants it would decide how long that side waits for us.
 */
static void
wait_a_moment(const struct queue_run *run)
{
    if (run->are_apart)
        bench_pause();
    else
        sched_yield();
}

static void
hand_out(struct bench_team *team, struct bench_cell *cell, unsigned index,
         void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    struct hand_over *hand_over = run->hand_over;
    size_t size = run->arguments.size;
    void *blocks[HAND_OVER_BLOCKS];
    uint64_t count = 0;
    int last = 0;
    unsigned i;

    (void)index;
    channel_open(channel, SIDE_PRODUCER, 0);
    for (i = 0; i < HAND_OVER_BLOCKS; i++) {
        blocks[i] = channel_block_new(channel, size);
        block_fill((uint64_t *)blocks[i], size, (uint64_t)i << 32);
    }
    bench_team_ready(team);
    while (!last) {
        last = (bench_stopped(team) && count >= BLOCKS_MIN - 1) ||
               count == HAND_OVERS_MAX - 1;
        if (last)
            block_fill((uint64_t *)blocks[count % HAND_OVER_BLOCKS], size,
                       MESSAGE_END);
        hand_over->before = bench_now();
        channel_block_put(channel, blocks[count % HAND_OVER_BLOCKS], size);
        count++;
        /* acquire: pairs with the release in take_over() */
        while (__atomic_load_n(&hand_over->taken, __ATOMIC_ACQUIRE) != count)
            wait_a_moment(run);
    }
    cell->count = count;
    channel_close(channel, SIDE_PRODUCER);
}

static void
take_over(struct bench_team *team, struct bench_cell *cell, unsigned index,
          void *context)
{
    struct queue_run *run = (struct queue_run *)context;
    struct channel *channel = run->channels[0];
    struct hand_over *hand_over = run->hand_over;
    size_t size = run->arguments.size;
    void *buffer = bench_buffer(size);
    uint64_t count = 0;
    int last = 0;

    (void)index;
    channel_open(channel, SIDE_CONSUMER, 0);
    bench_team_ready(team);
    while (!last) {
        const uint64_t *block =
            (const uint64_t *)channel_block_get(channel, buffer, size);
        int64_t after = bench_now();

        run->samples[count] = (double)(after - hand_over->before);
        last = block[0] == MESSAGE_END;
        block_check_pages(
            block, size, last ? MESSAGE_END : (count % HAND_OVER_BLOCKS) << 32);
        count++;
        __atomic_store_n(&hand_over->taken, count, __ATOMIC_RELEASE);
    }
    cell->count = count;
    channel_close(channel, SIDE_CONSUMER);
}

static int
cpu_of(const struct queue_run *run, enum side side)
{
    switch (run->arguments.placement) {
    case BENCH_ONE:
        return 0;
    case BENCH_TWO:
        return side == SIDE_CONSUMER ? 1 : 0;
    case BENCH_FREE:
        break;
    }
    return -1;
}

static void
run_sides(struct bench_team *team, struct queue_run *run,
          bench_member *consumer, bench_member *producer)
{
    unsigned i;

    bench_team_init(team);
    team->control->producers_left = run->arguments.producers;
    team->control->consumers_left = run->arguments.consumers;
    for (i = 0; i < run->arguments.consumers; i++)
        bench_team_add(team, consumer, run, cpu_of(run, SIDE_CONSUMER));
    /* Whoever listens under a name does so before others connect. */
    bench_team_wait_ready(team);
    for (i = 0; i < run->arguments.producers; i++)
        bench_team_add(team, producer, run, cpu_of(run, SIDE_PRODUCER));
    bench_team_run(team, run->arguments.seconds);
    bench_team_join(team);
}

static void
queue_main(int argc, char **argv)
{
    struct bench_team team;
    struct queue_run run;

    memset(&run, 0, sizeof run);
    bench_parse(&run.arguments, argc, argv);
    run.are_apart = run.arguments.placement == BENCH_TWO && bench_cpus() > 1;
    run.channels[0] = channel_new(&run.arguments);
    if (strcmp(run.arguments.mode, "throughput") == 0) {
        run_sides(&team, &run, consume, produce);
        report_throughput(&team, &run);
    } else if (strcmp(run.arguments.mode, "filled") == 0) {
        run_sides(&team, &run, consume_filled, produce_filled);
        report_filled(&team);
    } else if (strcmp(run.arguments.mode, "ping-pong") == 0) {
        run.channels[1] = channel_new(&run.arguments);
        run.samples =
            (double *)bench_shared(PING_PONG_BATCHES_MAX * sizeof *run.samples);
        run_sides(&team, &run, pong, ping);
        bench_check(team.control->cells[1].count * PING_PONG_BATCH ==
                        team.control->cells[0].count,
                    "answers lost");
        bench_report("us",
                     bench_median(run.samples, team.control->cells[1].count));
        channel_free(run.channels[1]);
    } else if (strcmp(run.arguments.mode, "hand-over") == 0) {
        run.samples =
            (double *)bench_shared(HAND_OVERS_MAX * sizeof *run.samples);
        run.hand_over = (struct hand_over *)bench_shared(sizeof *run.hand_over);
        run_sides(&team, &run, take_over, hand_out);
        bench_check(team.control->cells[0].count ==
                        team.control->cells[1].count,
                    "blocks lost");
        bench_report("hand-over/s",
                     1e9 /
                         bench_median(run.samples + WARM_UP,
                                      team.control->cells[0].count - WARM_UP));
    } else {
        bench_die("--mode: throughput, filled, ping-pong or hand-over");
    }
    channel_free(run.channels[0]);
    bench_directory_remove();
}

#endif
