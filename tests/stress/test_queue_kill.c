/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers and consumers killed at random moments, while a record is kept of
 * every message: nothing is torn, nothing comes twice, no consumer sees one
 * producer's messages in another order, nothing is lost but what was in a dead
 * consumer's hands; and no memory is left behind.
 */
#include "harness.h"

#include "heap/pages.h"
#include "heap/slab.h"
#include "heap/slot.h"

#include <troupe.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN  6u
#define PRODUCERS 1024u
#define MESSAGES  (1u << 22)
#define LARGEST   30000u
#define BATCH     8u

/* A sanitizer makes each life some times as long. */
#ifdef HARNESS_ASAN
# define KILLS 40u
#else
# define KILLS 150u
#endif

enum mode { MODE_PLAIN, MODE_BATCH, MODE_LEASE };

struct message {
    uint32_t number;
    uint32_t size;
    uint32_t producer;
};

struct record {
    troupe_queue *queue;
    uint32_t next;      /* number of the next message */
    uint32_t stop;      /* producers end */
    uint32_t producers; /* there have been so many */
    uint32_t mode;
    uint32_t large;
    unsigned char put[MESSAGES];  /* its put has returned */
    unsigned char seen[MESSAGES]; /* how often it was got */
};

/* Which of the producers this process is. */
static uint32_t own_number;

static void
message_make(unsigned char *data, uint32_t number, uint32_t size)
{
    struct message message = {number, size, own_number};

    memset(data, (int)(number * 151 >> 3 & 0xff), size);
    memcpy(data, &message, sizeof(message));
}

static struct message
message_check(const unsigned char *data, size_t size)
{
    struct message message;
    size_t i;

    CHECK_GE(size, sizeof(message));
    memcpy(&message, data, sizeof(message));
    CHECK_EQ(message.size, size);
    CHECK_LT(message.number, MESSAGES);
    for (i = sizeof(message); i < size; i++)
        if (data[i] != (unsigned char)(message.number * 151 >> 3 & 0xff))
            FAIL("message %u is torn at %zu of %zu", message.number, i, size);
    return message;
}

static uint32_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static uint32_t
next_size(const struct record *record, uint64_t *state)
{
    uint32_t random = next_random(state);

    if (record->large && random % 4 == 0)
        return 4097 + random % (LARGEST - 4097);
    return (uint32_t)sizeof(struct message) + random % 200;
}

static void
produce(struct record *record, uint64_t seed)
{
    static unsigned char data[BATCH][LARGEST];

    own_number = troupe__fetch_add_relaxed(&record->producers, 1u);
    CHECK_LT(own_number, PRODUCERS);
    while (troupe__load_relaxed(&record->stop) == 0) {
        uint32_t count = record->mode == MODE_BATCH ? BATCH : 1;
        uint32_t first = troupe__fetch_add_relaxed(&record->next, count);
        struct iovec items[BATCH];
        size_t done = 0;
        uint32_t i;

        if (first + count > MESSAGES)
            return;
        for (i = 0; i < count; i++) {
            items[i].iov_base = data[i];
            items[i].iov_len = next_size(record, &seed);
            message_make(data[i], first + i, (uint32_t)items[i].iov_len);
        }
        if (record->mode == MODE_BATCH) {
            CHECK_RC(troupe_queue_put_many(record->queue, items, count, &done,
                                           TROUPE_FOREVER),
                     0);
        } else if (record->mode == MODE_LEASE && (first & 1) != 0) {
            void *reserved;

            CHECK_RC(troupe_queue_reserve(record->queue, items[0].iov_len,
                                          &reserved),
                     0);
            message_make(reserved, first, (uint32_t)items[0].iov_len);
            CHECK_RC(troupe_queue_commit(record->queue, reserved,
                                         items[0].iov_len, TROUPE_FOREVER),
                     0);
            done = 1;
        } else {
            CHECK_RC(troupe_queue_put(record->queue, data[0], items[0].iov_len,
                                      TROUPE_FOREVER),
                     0);
            done = 1;
        }
        for (i = 0; i < done; i++)
            record->put[first + i] = 1;
    }
}

static void
saw(struct record *record, const void *data, size_t size)
{
    static uint32_t next[PRODUCERS]; /* least number to come from each */
    struct message message = message_check(data, size);

    CHECK_LT(message.producer, PRODUCERS);
    /* What a dead lessee had comes once more, behind others. */
    if (record->mode != MODE_LEASE)
        CHECK_GE(message.number, next[message.producer]);
    next[message.producer] = message.number + 1;
    (void)troupe__fetch_add_relaxed(&record->seen[message.number], 1);
}

static void
consume(struct record *record)
{
    static unsigned char data[BATCH][LARGEST];
    int status;

    for (;;) {
        struct iovec items[BATCH];
        size_t size = LARGEST;
        size_t count = 0;
        void *leased;
        uint32_t i;

        switch (record->mode) {
        case MODE_PLAIN:
            status =
                troupe_queue_get(record->queue, data[0], &size, TROUPE_FOREVER);
            if (status == 0)
                saw(record, data[0], size);
            break;
        case MODE_BATCH:
            for (i = 0; i < BATCH; i++) {
                items[i].iov_base = data[i];
                items[i].iov_len = LARGEST;
            }
            status = troupe_queue_get_many(record->queue, items, BATCH, &count,
                                           TROUPE_FOREVER);
            for (i = 0; i < count; i++)
                saw(record, items[i].iov_base, items[i].iov_len);
            break;
        default:
            status = troupe_queue_peek(record->queue, &leased, &size,
                                       TROUPE_FOREVER);
            if (status == 0) {
                saw(record, leased, size);
                CHECK_RC(troupe_queue_release(record->queue, leased), 0);
            }
            break;
        }
        if (status < 0)
            break;
    }
    CHECK_RC(status, -EPIPE);
}

static pid_t
start(struct record *record, bool producer)
{
    uint64_t seed = harness_random();
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    if (pid == 0) {
        if (producer)
            produce(record, seed);
        else
            consume(record);
        _exit(0);
    }
    return pid;
}

static void
reap(pid_t pid, bool killed)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!killed || WIFEXITED(status)) {
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
    } else {
        CHECK_EQ(WTERMSIG(status), SIGKILL);
    }
}

/* Bytes in use by anything but this thread's cache. */
static uint64_t
heap_used(void)
{
    struct troupe__thread *self = troupe__thread_self;
    uint64_t bytes;
    uint64_t free_bytes;

    (void)troupe__slots_recover();
    troupe__slab_recover(self, self->slot, self->index);
    troupe__pages_count(self, &bytes, &free_bytes);
    return bytes - free_bytes;
}

/* Half of the children produce, half consume; `kills` of them are killed. */
static void
run(enum mode mode, bool large, const troupe_queue_options *options,
    unsigned kills)
{
    troupe_queue_info info = {.size = sizeof(info)};
    struct record *record = troupe_calloc(1, sizeof(*record));
    pid_t pids[CHILDREN];
    unsigned dead_producers = 0;
    unsigned dead_consumers = 0;
    unsigned most = mode == MODE_BATCH ? BATCH : 1;
    uint64_t distinct = 0;
    uint64_t seen = 0;
    uint64_t put = 0;
    uint32_t i;

    CHECK(record != NULL);
    record->mode = mode;
    record->large = large;
    CHECK_RC(troupe_queue_new(&record->queue, options), 0);
    for (i = 0; i < CHILDREN; i++)
        pids[i] = start(record, i % 2 == 0);
    while (kills-- > 0) {
        (void)usleep((useconds_t)(harness_random() % 3000));
        i = (uint32_t)(harness_random() % CHILDREN);
        CHECK_EQ(kill(pids[i], SIGKILL), 0);
        /* The next one comes before the dead is reaped, or after. */
        if (harness_random() % 2 == 0) {
            pid_t next = start(record, i % 2 == 0);

            reap(pids[i], true);
            pids[i] = next;
        } else {
            reap(pids[i], true);
            pids[i] = start(record, i % 2 == 0);
        }
        if (i % 2 == 0)
            dead_producers++;
        else
            dead_consumers++;
    }
    troupe__store_relaxed(&record->stop, 1u);
    for (i = 0; i < CHILDREN; i += 2)
        reap(pids[i], false);
    CHECK_RC(troupe_queue_shutdown(record->queue), 0);
    for (i = 1; i < CHILDREN; i += 2)
        reap(pids[i], false);
    (void)troupe__slots_recover();
    CHECK_RC(troupe_queue_info_get(record->queue, &info), 0);
    for (i = 0; i < MESSAGES; i++) {
        put += record->put[i];
        seen += record->seen[i];
        distinct += record->seen[i] != 0;
        if (mode != MODE_LEASE && record->seen[i] > 1)
            FAIL("message %u came %u times", i, record->seen[i]);
        if (mode == MODE_LEASE && record->put[i] && record->seen[i] == 0)
            FAIL("message %u was lost", i);
    }
    CHECK_GT(put, 0);
    CHECK_EQ(info.items, 0);
    CHECK_EQ(info.bytes, 0);
    CHECK_EQ(info.leased, 0);
    CHECK_GE(info.puts, put);
    CHECK_LE(info.puts - put, (uint64_t)dead_producers * most);
    CHECK_GE(info.puts, distinct);
    if (mode == MODE_LEASE) {
        CHECK_EQ(info.puts, distinct);
        CHECK_LE(seen - distinct, dead_consumers);
        CHECK_LE(seen - distinct, info.redelivered);
        CHECK_LE(info.redelivered, dead_consumers);
        CHECK_EQ(info.lost, 0);
    } else {
        CHECK_LE(info.puts - distinct, (uint64_t)dead_consumers * most);
        CHECK_LE(info.lost, info.puts - distinct);
    }
    troupe_queue_free(record->queue);
    CHECK_RC(troupe_free(record), 0);
}

static void
run_and_weigh(enum mode mode, bool large, const troupe_queue_options *options,
              unsigned kills)
{
    uint64_t before;
    uint32_t i;

    run(mode, large, options, 3);
    /* A class keeps one slab when all is freed, from when it is first used. */
    for (i = 0; i < TROUPE__CLASSES; i++)
        CHECK_RC(troupe_free(troupe_alloc(troupe__class_size(i))), 0);
    before = heap_used();
    run(mode, large, options, kills);
    CHECK_EQ(heap_used(), before);
}

#define OPTIONS(...) TROUPE_OPTIONS(troupe_queue_options, __VA_ARGS__)

TEST_TIMEOUT(queue_survives_kills_of_plain_users, 120)
{
    run_and_weigh(MODE_PLAIN, false, NULL, KILLS);
    run_and_weigh(MODE_PLAIN, false, OPTIONS(.max_items = 2), KILLS);
}

TEST_TIMEOUT(queue_survives_kills_with_large_messages, 120)
{
    run_and_weigh(MODE_PLAIN, true, OPTIONS(.max_bytes = 200000), KILLS);
}

TEST_TIMEOUT(queue_survives_kills_of_batch_users, 120)
{
    run_and_weigh(MODE_BATCH, false, OPTIONS(.max_bytes = 20000), KILLS);
    run_and_weigh(MODE_BATCH, true, OPTIONS(.max_bytes = 200000), KILLS);
}

TEST_TIMEOUT(queue_survives_kills_of_lessees, 120)
{
    run_and_weigh(MODE_LEASE, false, NULL, KILLS);
    run_and_weigh(MODE_LEASE, false, OPTIONS(.max_items = 3), KILLS);
    run_and_weigh(MODE_LEASE, true, OPTIONS(.max_bytes = 200000), KILLS);
}
