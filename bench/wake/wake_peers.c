/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eventfd: write() against a blocking read(). sem: a process-shared POSIX
 * semaphore. pthread-cond: a flag under a process-shared mutex and condition,
 * as an event is commonly built. yardstick:futex: a bare word, waited for
 * with a time-out, since whoever must notice a death cannot sleep for ever.
 */
#include "wake_loop.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct event_file {
    int file;
};

static void *
eventfd_make(void)
{
    struct event_file *event = bench_shared(sizeof *event);

    event->file = eventfd(0, EFD_CLOEXEC);
    bench_check(event->file >= 0, "eventfd: %s", strerror(errno));
    return event;
}

static void
eventfd_wait(void *subject)
{
    struct event_file *event = subject;
    uint64_t value;

    bench_check(read(event->file, &value, sizeof value) == sizeof value,
                "read: %s", strerror(errno));
}

static void
eventfd_wake(void *subject)
{
    struct event_file *event = subject;
    uint64_t one = 1;

    bench_check(write(event->file, &one, sizeof one) == sizeof one, "write: %s",
                strerror(errno));
}

static void
nothing_to_reset(void *subject)
{
    (void)subject;
}

static void *
sem_make(void)
{
    sem_t *semaphore = bench_shared(sizeof *semaphore);

    bench_check(sem_init(semaphore, 1, 0) == 0, "sem_init");
    return semaphore;
}

static void
sem_sleep(void *subject)
{
    bench_check(sem_wait(subject) == 0, "sem_wait: %s", strerror(errno));
}

static void
sem_wake(void *subject)
{
    bench_check(sem_post(subject) == 0, "sem_post");
}

struct flag {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int is_set;
};

static void *
flag_make(void)
{
    struct flag *flag = bench_shared(sizeof *flag);
    pthread_mutexattr_t mutex_attributes;
    pthread_condattr_t attributes;

    pthread_mutexattr_init(&mutex_attributes);
    pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&attributes);
    pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    bench_check(pthread_mutex_init(&flag->mutex, &mutex_attributes) == 0 &&
                    pthread_cond_init(&flag->condition, &attributes) == 0,
                "pthread_cond_init");
    return flag;
}

static void
flag_wait(void *subject)
{
    struct flag *flag = subject;

    pthread_mutex_lock(&flag->mutex);
    while (!flag->is_set)
        pthread_cond_wait(&flag->condition, &flag->mutex);
    pthread_mutex_unlock(&flag->mutex);
}

static void
flag_wake(void *subject)
{
    struct flag *flag = subject;

    pthread_mutex_lock(&flag->mutex);
    flag->is_set = 1;
    pthread_mutex_unlock(&flag->mutex);
    pthread_cond_broadcast(&flag->condition);
}

static void
flag_reset(void *subject)
{
    struct flag *flag = subject;

    pthread_mutex_lock(&flag->mutex);
    flag->is_set = 0;
    pthread_mutex_unlock(&flag->mutex);
}

static void *
futex_make(void)
{
    return bench_shared(sizeof(uint32_t));
}

static void
futex_sleep(void *subject)
{
    uint32_t *word = subject;

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 0)
        bench_futex_wait(word, 0, 1000000000);
}

static void
futex_wake(void *subject)
{
    __atomic_store_n((uint32_t *)subject, 1, __ATOMIC_RELEASE);
    bench_futex_wake(subject, 1);
}

static void
futex_reset(void *subject)
{
    __atomic_store_n((uint32_t *)subject, 0, __ATOMIC_RELAXED);
}

int
main(int argc, char **argv)
{
    static const struct wake_system systems[] = {
        {"eventfd", eventfd_make, eventfd_wait, eventfd_wake, nothing_to_reset},
        {"sem", sem_make, sem_sleep, sem_wake, nothing_to_reset},
        {"pthread-cond", flag_make, flag_wait, flag_wake, flag_reset},
        {"yardstick:futex", futex_make, futex_sleep, futex_wake, futex_reset},
    };

    wake_main(systems, sizeof systems / sizeof *systems, argc, argv);
    return 0;
}
