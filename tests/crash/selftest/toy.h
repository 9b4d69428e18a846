/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small queue under a small lock, for the engine to be tried on, and the
 * same with one bug at a time that the engine must find.
 */
#ifndef TROUPE_TESTS_CRASH_TOY_H
#define TROUPE_TESTS_CRASH_TOY_H

#include <stdbool.h>
#include <stdint.h>

enum toy_bug {
    TOY_SOUND,
    TOY_COMMIT_FIRST,     /* the item becomes visible before its content */
    TOY_WAIT_UNBOUNDED,   /* a wake-up that a dead put owes never comes */
    TOY_NO_DEAD_CHECK,    /* a dead owner keeps the lock */
    TOY_NO_WAKE,          /* a put that completes wakes nobody */
    TOY_RECOVERY_EMPTIES, /* taking over from the dead throws items away */
    TOY_RECOVERY_REPEATS, /* taking over from the dead puts again */
    TOY_STEALS,           /* takes the lock from a living owner */
    TOY_SECOND_ONLY,      /* survives one death in a row, not two */
    TOY_BUGS
};

extern enum toy_bug toy_bug;

enum { TOY_EMPTY = -1, TOY_FULL = -2, TOY_BROKEN = -3 };

void toy_open(unsigned capacity);
/* Each process that uses the queue, before anything else. */
void toy_enter(void);
void toy_lock(void);
void toy_unlock(void);
int toy_put(unsigned item, bool wait);
int toy_get(bool wait);
/* Items ever put; takes no lock, so it wakes and recovers nothing. */
unsigned toy_total(void);
/* Writes nothing that is shared; toy_peeks() says so, and lies. */
unsigned toy_capacity(void);
unsigned toy_peeks(void);

#endif
