/* SPDX-License-Identifier: Apache-2.0 */
/* troupe: a lock in the family's heap, without deadline, as it comes. */
#include <bench.h>
#include <troupe.h>

struct subject {
    troupe_lock lock;
};

static struct subject *
subject_new(const struct bench_arguments *arguments)
{
    struct subject *subject = troupe_calloc(1, sizeof *subject);

    (void)arguments;
    bench_check(subject, "troupe_calloc");
    return subject;
}

static inline void
subject_acquire(struct subject *subject)
{
    bench_check(troupe_lock_acquire(&subject->lock, TROUPE_FOREVER) == 0,
                "acquire");
}

static inline void
subject_release(struct subject *subject)
{
    bench_check(troupe_lock_release(&subject->lock) == 0, "release");
}

static void
subject_free(struct subject *subject)
{
    troupe_free(subject);
}

#include "lock_loops.h"

int
main(int argc, char **argv)
{
    lock_main(argc, argv);
    return 0;
}
