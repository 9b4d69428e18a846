/* SPDX-License-Identifier: Apache-2.0 */
/* boost: boost::interprocess::interprocess_mutex in shared memory. */
#include <bench.h>

#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <new>

struct subject {
    boost::interprocess::interprocess_mutex mutex;
};

static struct subject *
subject_new(const struct bench_arguments *arguments)
{
    (void)arguments;
    return new (bench_shared(sizeof(struct subject))) subject;
}

static inline void
subject_acquire(struct subject *subject)
{
    subject->mutex.lock(); /* throws when it fails */
}

static inline void
subject_release(struct subject *subject)
{
    subject->mutex.unlock();
}

static void
subject_free(struct subject *subject)
{
    subject->~subject();
}

#include "lock_loops.h"

int
main(int argc, char **argv)
{
    lock_main(argc, argv);
    return 0;
}
