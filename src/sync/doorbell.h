/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doorbells: descriptors that tell an event loop to look at an object.
 *
 * An object that can be polled has a word, its `home`, which names the table of
 * its pollers, or is 0. A member that wants to poll makes a bell for the home
 * and enters it in the table. Whoever changes the object calls
 * troupe__doorbell_signal(home) after the change, which costs one load when
 * nobody polls. A poller is rung once, and again when it has looked:
 *
 *     poller                               others
 *     readable: looks at the object
 *     finds nothing:
 *       silences the bell, arms its cell
 *       looks once more                    change the object
 *                                          load the cell: armed? ring, disarm
 *
 * That is the Dekker pattern of sync/eventword.h, with the cell in the place of
 * bit 0. Each arming has a number, and who has rung disarms that one.
 * docs/design/doorbells.md says how deaths are covered.
 */
#ifndef TROUPE_SRC_SYNC_DOORBELL_H
#define TROUPE_SRC_SYNC_DOORBELL_H

#include "base/atomic.h"
#include "base/macros.h"
#include "heap/family.h"

#include <stdbool.h>
#include <stdint.h>

void troupe__doorbell_ring(const uint64_t *home);

/* The object has changed. Async-signal-safe. */
static inline void
troupe__doorbell_signal(const uint64_t *home)
{
    if (TROUPE__UNLIKELY(troupe__load_seq_cst(home) != 0))
        troupe__doorbell_ring(home);
}

/* The descriptor of this member for a home, made if need be. It begins
 * readable. `strangers`: processes that have not joined, and so are not
 * watched, may change the object. Those of objects that others have ended are
 * closed. 0,
 * -EMFILE, -ENFILE, -ENOMEM, -ENOTSUP. */
int troupe__doorbell_fileno(struct troupe__thread *self, uint64_t *home,
                            bool strangers, int *ret_fd);

/* How many bells this process has; a fork child may find its parent's. */
extern uint32_t troupe__doorbell_count;

bool troupe__doorbell_rest(struct troupe__thread *self, uint64_t *home);

/* The caller has looked at the object and found nothing: what has been told is
 * forgotten. True: the caller looks once more, and if it finds something then
 * calls troupe__doorbell_again(). */
static inline bool
troupe__doorbell_looked(struct troupe__thread *self, uint64_t *home)
{
    return TROUPE__UNLIKELY(troupe__load_relaxed(&troupe__doorbell_count) !=
                            0) &&
           troupe__doorbell_rest(self, home);
}

/* Makes this member's descriptor readable again. */
void troupe__doorbell_again(struct troupe__thread *self, uint64_t *home);

/* Closes this member's descriptor. */
void troupe__doorbell_close(struct troupe__thread *self, uint64_t *home);

/* The object ends: the descriptor of this member and the tables go. Nobody uses
 * the object. May be repeated after a death inside. Takes the directory's lock,
 * for recovery walks and changes the tables under it. */
void troupe__doorbell_free(struct troupe__thread *self, uint64_t *home);

/* The same without the descriptor, for who holds the directory's lock. If it
 * could not be had the tables stay, and go with the calling thread. */
void troupe__doorbell_empty(struct troupe__thread *self, uint64_t *home);

/* For tests: the descriptor that this process keeps to ring others; -1. */
int troupe__doorbell_sender(void);

#endif
