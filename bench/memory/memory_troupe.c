/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe: every member takes a lock, and allocates a block and frees it; then
 * it idles. The lock is all the content there is.
 */
#include "memory_main.h"

#include <troupe.h>

static troupe_lock *lock;

static void
create(void)
{
    lock = troupe_calloc(1, sizeof *lock);
    bench_check(lock, "troupe_calloc");
}

static void
join(void)
{
    void *block = troupe_alloc(100);

    bench_check(block && troupe_lock_acquire(lock, TROUPE_FOREVER) == 0 &&
                    troupe_lock_release(lock) == 0 && troupe_free(block) == 0,
                "the library does not work");
}

int
main(int argc, char **argv)
{
    static const struct memory_system system = {create, join};

    memory_main(&system, argc, argv);
    return 0;
}
