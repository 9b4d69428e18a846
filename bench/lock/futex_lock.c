/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apart from the loops that call it: a lock of a library costs its caller two
 * calls, and so does the yardstick.
 */
#include "futex_lock.h"

#include <bench.h>

enum {
    FREE,
    HELD,
    CONTENDED,
};

int
futex_lock_acquire(struct futex_lock *lock)
{
    uint32_t seen = FREE;

    if (__atomic_compare_exchange_n(&lock->word, &seen, HELD, 0,
                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return 0;
    if (seen != CONTENDED)
        seen = __atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE);
    while (seen != FREE) {
        bench_futex_wait(&lock->word, CONTENDED, -1);
        seen = __atomic_exchange_n(&lock->word, CONTENDED, __ATOMIC_ACQUIRE);
    }
    return 0;
}

int
futex_lock_release(struct futex_lock *lock)
{
    if (__atomic_exchange_n(&lock->word, FREE, __ATOMIC_RELEASE) == CONTENDED)
        bench_futex_wake(&lock->word, 1);
    return 0;
}

int
ticket_lock_acquire(struct ticket_lock *lock)
{
    uint32_t mine = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    uint32_t serving;

    /* acquire: pairs with the release in ticket_lock_release() */
    while ((serving = __atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE)) !=
           mine)
        bench_futex_wait_bits(&lock->serving, serving, 1u << (mine % 32));
    return 0;
}

int
ticket_lock_release(struct ticket_lock *lock)
{
    uint32_t serving = __atomic_add_fetch(&lock->serving, 1, __ATOMIC_RELEASE);

    /* With more than 32 waiting a bit has two owners: wake both. */
    bench_futex_wake_bits(&lock->serving, 1 << 16, 1u << (serving % 32));
    return 0;
}
