/* SPDX-License-Identifier: Apache-2.0 */
/* yardstick:futex, a bare three-state lock. */
#include "futex_lock.h"

#include <bench.h>

struct subject {
    struct futex_lock lock;
};

static struct subject *
subject_new(const struct bench_arguments *arguments)
{
    (void)arguments;
    return bench_shared(sizeof(struct subject));
}

static inline void
subject_acquire(struct subject *subject)
{
    bench_check(futex_lock_acquire(&subject->lock) == 0, "acquire");
}

static inline void
subject_release(struct subject *subject)
{
    bench_check(futex_lock_release(&subject->lock) == 0, "release");
}

static void
subject_free(struct subject *subject)
{
    (void)subject;
}

#include "lock_loops.h"

int
main(int argc, char **argv)
{
    lock_main(argc, argv);
    return 0;
}
