/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pthread-plain: a process-shared mutex. pthread-robust: the same with the
 * robust attribute, the one of glibc's that survives its owner's death.
 */
#include <bench.h>

#include <pthread.h>
#include <string.h>

struct subject {
    pthread_mutex_t mutex;
};

static struct subject *
subject_new(const struct bench_arguments *arguments)
{
    struct subject *subject = bench_shared(sizeof *subject);
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (strcmp(arguments->system, "pthread-robust") == 0)
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    else if (strcmp(arguments->system, "pthread-plain") != 0)
        bench_die("--system: pthread-plain or pthread-robust");
    bench_check(pthread_mutex_init(&subject->mutex, &attributes) == 0,
                "pthread_mutex_init");
    return subject;
}

static inline void
subject_acquire(struct subject *subject)
{
    bench_check(pthread_mutex_lock(&subject->mutex) == 0, "lock");
}

static inline void
subject_release(struct subject *subject)
{
    bench_check(pthread_mutex_unlock(&subject->mutex) == 0, "unlock");
}

static void
subject_free(struct subject *subject)
{
    pthread_mutex_destroy(&subject->mutex);
}

#include "lock_loops.h"

int
main(int argc, char **argv)
{
    lock_main(argc, argv);
    return 0;
}
