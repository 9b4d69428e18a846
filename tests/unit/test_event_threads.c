/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event among the threads of one process.
 */
#include "unit.h"

#include <troupe/event.h>

#define ROUNDS 1000u

struct data {
    troupe_event event[2];
    uint64_t data; /* plain: the events are all that orders it */
    uint32_t flags[4];
};

static void *
answer(void *argument)
{
    struct data *d = argument;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        CHECK_RC(troupe_event_wait(&d->event[0], TROUPE_FOREVER), 0);
        CHECK_RC(troupe_event_clear(&d->event[0]), 0);
        CHECK_EQ(d->data, 2 * i + 1);
        d->data++;
        CHECK_RC(troupe_event_set(&d->event[1]), 0);
    }
    return NULL;
}

static void
ask(struct data *d)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, answer, d), 0);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        d->data++;
        CHECK_RC(troupe_event_set(&d->event[0]), 0);
        CHECK_RC(troupe_event_wait(&d->event[1], TROUPE_FOREVER), 0);
        CHECK_RC(troupe_event_clear(&d->event[1]), 0);
        CHECK_EQ(d->data, 2 * i + 2);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(event_orders_data_between_threads_in_the_heap)
{
    ask(unit_shared(sizeof(struct data)));
}

TEST(event_orders_data_between_threads_in_private_memory)
{
    struct data d;

    memset(&d, 0, sizeof(d));
    ask(&d);
}

static void *
wait_once(void *argument)
{
    struct data *d = argument;

    unit_raise(&d->flags[0]);
    CHECK_RC(troupe_event_wait(&d->event[0], TROUPE_FOREVER), 0);
    CHECK_EQ(d->data, 42u);
    unit_raise(&d->flags[1]);
    return NULL;
}

TEST(event_set_wakes_all_threads)
{
    for (int round = 0; round < 20; round++) {
        struct data *d = unit_shared(sizeof(*d));
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, wait_once, d), 0);
        unit_await(&d->flags[0], 4);
        d->data = 42;
        CHECK_RC(troupe_event_set(&d->event[0]), 0);
        for (size_t i = 0; i < 4; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(d->flags[1], 4u);
        CHECK_RC(troupe_free(d), 0);
    }
}
