/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two bare locks on one word, the limits that real locks are held against.
 * They survive no death, know no owner and have no deadline.
 */
#ifndef BENCH_LOCK_FUTEX_LOCK_H
#define BENCH_LOCK_FUTEX_LOCK_H

#include <stdint.h>

/* 0 free, 1 held, 2 held and somebody may sleep. */
struct futex_lock {
    uint32_t word;
};

int futex_lock_acquire(struct futex_lock *lock);
int futex_lock_release(struct futex_lock *lock);

/* First come, first served: the fairest there is, at a switch a turn. */
struct ticket_lock {
    uint32_t next;
    uint32_t serving;
};

int ticket_lock_acquire(struct ticket_lock *lock);
int ticket_lock_release(struct ticket_lock *lock);

#endif
