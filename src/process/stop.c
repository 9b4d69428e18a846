/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cooperative stop: one bit in the member's record.
 */
#include "process.h"

#include "base/atomic.h"

int
troupe_process_stop(troupe_process *p)
{
    struct troupe__processes *all;
    int status = 0;

    if (p == NULL)
        return -EINVAL;
    /* Without the lock: this may be a signal handler. */
    if (troupe__process_is_current(p)) {
        if (troupe__member_here() == NULL &&
            troupe__member_self(&status) == NULL)
            return status;
        troupe__member_stop_here();
        return 0;
    }
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    if (status == 0 && !p->ended)
        troupe__member_stop(p->member);
    troupe__processes_unlock();
    return status;
}

bool
troupe_stop_requested(void)
{
    struct troupe__member *here = troupe__member_here();

    return here != NULL && (troupe__load_acquire(&here->stop) & 1) != 0;
}

int
troupe_stoppable_begin(void)
{
    struct troupe__thread *self;
    int status;

    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    self->stoppable++;
    return 0;
}

void
troupe_stoppable_end(void)
{
    struct troupe__thread *self = troupe__thread_self;

    if (self->tag != 0 && self->stoppable != 0)
        self->stoppable--;
}
