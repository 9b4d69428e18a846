/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where no handler of the program's may run in the calling thread.
 */
#ifndef TROUPE_SRC_OS_SIGNALS_H
#define TROUPE_SRC_OS_SIGNALS_H

#include <pthread.h>
#include <signal.h>

/* Blocks all signals but those of faults: the system kills a thread that blocks
 * one which it causes itself, and the program may have a handler for it. */
static inline void
troupe__signals_block(sigset_t *ret_mask)
{
    sigset_t set;

    (void)sigfillset(&set);
    (void)sigdelset(&set, SIGSEGV);
    (void)sigdelset(&set, SIGBUS);
    (void)sigdelset(&set, SIGFPE);
    (void)sigdelset(&set, SIGILL);
    (void)sigdelset(&set, SIGTRAP);
    (void)sigdelset(&set, SIGSYS);
    (void)pthread_sigmask(SIG_BLOCK, &set, ret_mask);
}

static inline void
troupe__signals_restore(const sigset_t *mask)
{
    (void)pthread_sigmask(SIG_SETMASK, mask, NULL);
}

#endif
