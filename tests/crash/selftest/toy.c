/* SPDX-License-Identifier: Apache-2.0 */
#include "toy.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 16, MOST = 8, WAITERS = 1 << 30 };

struct cell {
    uint32_t item;
    uint32_t check;
};

struct toy {
    pthread_mutex_t token[SLOTS];
    _Atomic uint32_t dead[SLOTS];
    _Atomic uint32_t owner; /* slot + 1, and whether anybody sleeps */
    _Atomic uint32_t head, tail;
    _Atomic uint32_t changed; /* sleepers wait for it to move */
    _Atomic uint32_t intent, intent_set;
    _Atomic uint32_t taken_over;
    _Atomic uint32_t peeks;
    uint32_t capacity;
    struct cell cell[MOST];
};

enum toy_bug toy_bug;

static struct toy *toy;
static uint32_t self;

static void
futex_wait(_Atomic uint32_t *word, uint32_t value, bool bounded)
{
    struct timespec most = {0, 20 * 1000 * 1000};

    syscall(SYS_futex, word, FUTEX_WAIT, value, bounded ? &most : NULL, NULL,
            0);
}

static void
futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
toy_open(unsigned capacity)
{
    pthread_mutexattr_t attributes;
    int fd = memfd_create("toy", MFD_CLOEXEC);
    unsigned i;

    if (fd < 0 || ftruncate(fd, sizeof(*toy)) != 0)
        abort();
    toy = mmap(NULL, sizeof(*toy), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (toy == MAP_FAILED)
        abort();
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    for (i = 0; i < SLOTS; i++)
        pthread_mutex_init(&toy->token[i], &attributes);
    toy->capacity = capacity;
}

void
toy_enter(void)
{
    uint32_t i;

    for (i = 0; i < SLOTS; i++) {
        int status = pthread_mutex_trylock(&toy->token[i]);

        if (status == 0) {
            self = i;
            return;
        }
        /* Finding it marked uses the mark up, so it is written down. */
        if (status == EOWNERDEAD)
            atomic_store(&toy->dead[i], 1);
    }
    abort();
}

/* The slots of a toy are used once, so a marked token needs no recovery. */
static bool
is_dead(uint32_t slot)
{
    if (atomic_load(&toy->dead[slot]))
        return true;
    if (slot == self || pthread_mutex_trylock(&toy->token[slot]) != EOWNERDEAD)
        return false;
    atomic_store(&toy->dead[slot], 1);
    return true;
}

static void
recover(void)
{
    if (toy_bug == TOY_RECOVERY_EMPTIES)
        atomic_store(&toy->head, toy->tail);
    if (toy_bug == TOY_RECOVERY_REPEATS && toy->intent_set) {
        struct cell *cell = &toy->cell[toy->tail % MOST];

        cell->item = toy->intent;
        cell->check = ~toy->intent;
        atomic_store(&toy->intent_set, 0);
        atomic_fetch_add(&toy->tail, 1);
    }
    if (toy_bug == TOY_SECOND_ONLY)
        atomic_fetch_add(&toy->taken_over, 1);
    atomic_fetch_add(&toy->changed, 1);
    futex_wake(&toy->changed);
}

void
toy_lock(void)
{
    for (;;) {
        uint32_t owner = 0;

        if (atomic_compare_exchange_strong(&toy->owner, &owner, self + 1))
            return;
        if (toy_bug == TOY_STEALS) {
            atomic_store(&toy->owner, self + 1);
            return;
        }
        if (toy_bug != TOY_NO_DEAD_CHECK &&
            !(toy_bug == TOY_SECOND_ONLY && toy->taken_over != 0) &&
            is_dead((owner & ~(uint32_t)WAITERS) - 1)) {
            if (!atomic_compare_exchange_strong(&toy->owner, &owner,
                                                (self + 1) | WAITERS))
                continue;
            recover();
            return;
        }
        if ((owner & WAITERS) == 0 && !atomic_compare_exchange_strong(
                                          &toy->owner, &owner, owner | WAITERS))
            continue;
        futex_wait(&toy->owner, owner | WAITERS, true);
    }
}

void
toy_unlock(void)
{
    if (atomic_exchange(&toy->owner, 0) & WAITERS)
        futex_wake(&toy->owner);
}

static void
signal_change(void)
{
    atomic_fetch_add(&toy->changed, 1);
    if (toy_bug != TOY_NO_WAKE)
        futex_wake(&toy->changed);
}

static void
write_cell(struct cell *cell, unsigned item)
{
    cell->item = item;
    atomic_signal_fence(memory_order_seq_cst);
    cell->check = ~item;
}

int
toy_put(unsigned item, bool wait)
{
    for (;;) {
        uint32_t changed = toy->changed, tail;

        toy_lock();
        tail = toy->tail;
        if (tail - toy->head < toy->capacity) {
            struct cell *cell = &toy->cell[tail % MOST];

            if (toy_bug == TOY_RECOVERY_REPEATS) {
                atomic_store(&toy->intent, item);
                atomic_store(&toy->intent_set, 1);
            }
            if (toy_bug == TOY_COMMIT_FIRST)
                atomic_store(&toy->tail, tail + 1);
            write_cell(cell, item);
            atomic_store(&toy->tail, tail + 1);
            toy_unlock();
            if (toy_bug == TOY_RECOVERY_REPEATS)
                atomic_store(&toy->intent_set, 0);
            signal_change();
            return 0;
        }
        toy_unlock();
        if (!wait)
            return TOY_FULL;
        futex_wait(&toy->changed, changed, toy_bug != TOY_WAIT_UNBOUNDED);
    }
}

int
toy_get(bool wait)
{
    for (;;) {
        uint32_t changed = toy->changed, head;

        toy_lock();
        head = toy->head;
        if (head != toy->tail) {
            struct cell cell = toy->cell[head % MOST];

            atomic_store(&toy->head, head + 1);
            toy_unlock();
            signal_change();
            return cell.check == ~cell.item ? (int)cell.item : TOY_BROKEN;
        }
        toy_unlock();
        if (!wait)
            return TOY_EMPTY;
        futex_wait(&toy->changed, changed, toy_bug != TOY_WAIT_UNBOUNDED);
    }
}

unsigned
toy_capacity(void)
{
    return toy->capacity;
}

unsigned
toy_total(void)
{
    return atomic_load(&toy->tail);
}

unsigned
toy_peeks(void)
{
    return atomic_fetch_add(&toy->peeks, 1);
}
