/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock among the threads of one process, in the heap and in private memory.
 */
#include "unit.h"

#include <troupe/lock.h>

#define THREADS 4
#define ROUNDS  3000

struct data {
    troupe_lock lock;
    uint64_t count; /* plain: the lock is all that orders it */
    uint64_t mirror;
    uint32_t deaths;
    uint32_t flags[4];
};

static void *
count_up(void *argument)
{
    struct data *d = argument;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_RC(troupe_lock_acquire(&d->lock, TROUPE_FOREVER), 0);
        CHECK_EQ(d->count, d->mirror);
        d->count++;
        if (i % 50 == 0)
            (void)sched_yield();
        d->mirror++;
        CHECK_RC(troupe_lock_release(&d->lock), 0);
    }
    return NULL;
}

static void
run(void *(*body)(void *), struct data *d)
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, d), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(lock_threads_exclude_each_other_in_the_heap)
{
    struct data *d = unit_shared(sizeof(*d));

    run(count_up, d);
    CHECK_EQ(d->count, (uint64_t)THREADS * ROUNDS);
}

TEST(lock_threads_exclude_each_other_in_private_memory)
{
    struct data d;

    memset(&d, 0, sizeof(d));
    run(count_up, &d);
    CHECK_EQ(d.count, (uint64_t)THREADS * ROUNDS);
}

static void *
try_and_wait(void *argument)
{
    struct data *d = argument;
    int done = 0;

    while (done < ROUNDS / 3) {
        int status = troupe_lock_acquire(
            &d->lock, done % 2 == 0 ? TROUPE_NOW : troupe_after(0.0001));

        if (status == -ETIMEDOUT)
            continue;
        CHECK_RC(status, 0);
        d->count++;
        d->mirror++;
        done++;
        CHECK_RC(troupe_lock_release(&d->lock), 0);
    }
    return NULL;
}

TEST(lock_threads_with_deadlines_exclude_each_other)
{
    struct data *d = unit_shared(sizeof(*d));

    run(try_and_wait, d);
    CHECK_EQ(d->count, (uint64_t)THREADS * (ROUNDS / 3));
    CHECK_EQ(d->mirror, d->count);
}

/* Every thread ends holding the lock, after it has changed the data. */
static void *
end_holding(void *argument)
{
    struct data *d = argument;
    int status = troupe_lock_acquire(&d->lock, TROUPE_FOREVER);

    CHECK_GE(status, 0);
    if (status == TROUPE_OWNER_DIED) {
        d->deaths++;
        CHECK_EQ(d->mirror + 1, d->count);
        d->mirror = d->count;
        CHECK_RC(troupe_lock_consistent(&d->lock), 0);
    }
    d->count++;
    return NULL;
}

TEST(lock_of_threads_that_end_is_handed_over)
{
    struct data *d = unit_shared(sizeof(*d));

    for (int round = 0; round < 20; round++)
        run(end_holding, d);
    CHECK_EQ(d->count, 20u * THREADS);
    CHECK_EQ(d->deaths, 20u * THREADS - 1);
}

static void *
release_others(void *argument)
{
    struct data *d = argument;

    for (int i = 0; i < ROUNDS / 3; i++) {
        unit_await(&d->flags[0], (uint32_t)i + 1);
        d->mirror = d->count;
        CHECK_RC(troupe_lock_release(&d->lock), 0);
    }
    return NULL;
}

/* Acquired here, released there: the release orders what was written. */
TEST(lock_released_by_another_thread)
{
    struct data *d = unit_shared(sizeof(*d));
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, release_others, d), 0);
    for (int i = 0; i < ROUNDS / 3; i++) {
        CHECK_RC(troupe_lock_acquire(&d->lock, TROUPE_FOREVER), 0);
        CHECK_EQ(d->mirror, d->count);
        d->count++;
        unit_raise(&d->flags[0]);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(d->mirror, (uint64_t)ROUNDS / 3);
}
