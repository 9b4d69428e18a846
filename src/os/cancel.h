/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are no cancellation points. A thread cancelled in the middle would
 * keep the process's own locks for ever, and leave what others refer to on a
 * stack that is gone.
 */
#ifndef TROUPE_SRC_OS_CANCEL_H
#define TROUPE_SRC_OS_CANCEL_H

#include <pthread.h>

static inline int
troupe__cancel_off(void)
{
    int state;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void
troupe__cancel_restore(const int *state)
{
    (void)pthread_setcancelstate(*state, NULL);
}

/* A declaration: from here to the end of the block no request to cancel the
 * thread is acted upon. */
#define TROUPE__UNCANCELLED                                                   \
 int cancel_state_ __attribute__((cleanup(troupe__cancel_restore), unused)) = \
     troupe__cancel_off()

#endif
