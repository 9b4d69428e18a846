/* SPDX-License-Identifier: Apache-2.0 */
/* The runner under threads, and under ThreadSanitizer. */
#include "harness.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int guarded;
static int counted;

static void *
count(void *argument)
{
    CHECK(argument == NULL);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(pthread_mutex_lock(&lock), 0);
        guarded++;
        CHECK_EQ(pthread_mutex_unlock(&lock), 0);
        __atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

TEST(joined_threads_are_no_residue)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, count, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(guarded, THREADS * ROUNDS);
    CHECK_EQ(counted, THREADS * ROUNDS);
}
