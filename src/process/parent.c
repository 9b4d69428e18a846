/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process watches its parent by a pidfd, which it opens when it is first
 * asked. The number may be another process's by then; but whoever is still the
 * child of that number after the pidfd was opened had it opened for its parent.
 */
#include "parent.h"

#include "process.h"

#include "heap/wait.h"
#include "os/child.h"

#include <poll.h>
#include <unistd.h>

troupe_process *
troupe_process_parent(void)
{
    struct troupe__processes *all = troupe__processes_lock();
    troupe_process *parent;

    if (all == NULL)
        return NULL;
    parent = all->parent;
    troupe__processes_unlock();
    return parent;
}

/* Makes sure that there is a descriptor. It stays as long as the process: the
 * handle is never closed. */
static int
parent_open(troupe_process *parent, int *ret_fd)
{
    struct troupe__processes *all = troupe__processes_lock();
    int status = 0;
    int fd;

    if (all == NULL)
        return -ENOMEM;
    if (parent != all->parent)
        status = -ECHILD; /* that of the process which forked this one */
    else if (parent->hidden)
        status = -ENOTSUP;
    else if (parent->pidfd < 0) {
        fd = troupe__child_open(parent->pid);
        if (fd == -ESRCH || getppid() != parent->pid) {
            if (fd >= 0)
                (void)close(fd);
            fd = troupe__child_dead_fd();
        }
        if (fd < 0)
            status = fd;
        else
            parent->pidfd = fd;
    }
    *ret_fd = parent->pidfd;
    troupe__processes_unlock();
    return status;
}

bool
troupe__parent_is_alive(troupe_process *parent)
{
    struct pollfd p = {.events = POLLIN};
    int status;

    status = parent_open(parent, &p.fd);
    if (status == 0)
        return poll(&p, 1, 0) <= 0; /* a signal that interrupts is no death */
    if (status == -ENOTSUP)
        return !troupe__member_dead(parent->member);
    if (status == -ECHILD)
        return false;
    /* No descriptor to be had: a child whose parent dies gets another. */
    return getppid() == parent->pid;
}

int
troupe__parent_sentinel(troupe_process *parent, int *ret_fd)
{
    int fd;
    int status = parent_open(parent, &fd);

    if (status == 0)
        *ret_fd = fd;
    return status;
}

int
troupe__parent_join(troupe_process *parent, troupe_deadline deadline)
{
    struct troupe__thread *self;
    struct troupe__wait wait;
    struct pollfd p = {.events = POLLIN};
    unsigned count = 1;
    int status;

    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    status = parent_open(parent, &p.fd);
    if (status == -ECHILD)
        return status;
    if (status < 0)
        count = 0; /* then it looks whenever its bound has passed */
    troupe__wait_begin(&wait, self,
                       troupe__member_at(parent->member.number - 1),
                       TROUPE__KIND_PROCESS, deadline);
    for (;;) {
        status = troupe__wait_poll(&wait, &p, count);
        if (status > 0 || (count == 0 && !troupe__parent_is_alive(parent))) {
            status = 0;
            break;
        }
        if (status < 0)
            break;
    }
    troupe__wait_end(&wait);
    return status;
}
