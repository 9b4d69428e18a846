/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a process: what all start methods have in common, and fork.
 *
 * The order makes sure that a start which fails leaves nothing, and that one
 * which succeeded cannot be missed:
 *
 *   1. the member record, so that queues can be told of the child
 *   2. the life pipe of a daemon, known in the list of children before anybody
 *      else can fork: its write end must be closed in every other child
 *   3. the fork; the child joins the family and waits at its gate
 *   4. the pidfd; if there is none to be had, the child is killed at the gate
 *   5. the gate is opened
 *
 * Killed in between the parent leaves a child that sees a closed gate and a
 * dead parent, and ends.
 */
#include "children.h"
#include "exit.h"
#include "process.h"

#include "heap/detail.h"
#include "ipc/queue.h"
#include "os/cancel.h"
#include "os/child.h"
#include "os/fd.h"
#include "os/signals.h"

#include <troupe/log.h>

#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit code of a child that could not begin. */
#define EXIT_NOT_BEGUN 255

/* Marks the handle as being started. */
static int
start_begin(troupe_process *p)
{
    struct troupe__processes *all = troupe__processes_lock();
    int status = 0;

    if (all == NULL)
        return troupe__detail(-ENOMEM, "memory for a process");
    if (p->closed)
        status = troupe__detail(-ESHUTDOWN, "the process is closed");
    else if (p->kind != TROUPE__PROCESS_CHILD || p == all->current)
        status = troupe__detail(-EBUSY, "the process runs already");
    else if (troupe__process_foreign(all, p))
        status = troupe__detail(-EXDEV, "can only start a process that the "
                                        "calling process has made");
    else if (p->started || p->starting)
        status = troupe__detail(-EBUSY, "cannot start a process twice");
    else if (all->current->daemon)
        status = troupe__detail(-EPERM, "daemonic processes are not allowed "
                                        "to have children");
    else {
        p->starting = true;
        all->current->lent = true;
        troupe__process_list(all, p);
    }
    troupe__processes_unlock();
    return status;
}

static void
start_end(troupe_process *p, int status)
{
    struct troupe__processes *all = troupe__processes_lock();

    p->starting = false;
    p->started = status == 0;
    /* A failure; or it was killed at its gate, and the host was fastest. */
    if (status < 0 || p->ended)
        troupe__process_unlist(all, p);
    troupe__processes_unlock();
}

/* Says once that forking with threads is a risk. */
static void
warn_threads(void)
{
    struct troupe__processes *all;
    unsigned threads;
    bool warned;

    if (!troupe_log_enabled(TROUPE_LOG_WARNING))
        return;
    all = troupe__processes_lock();
    if (all == NULL)
        return;
    warned = all->warned_threads;
    troupe__processes_unlock();
    if (warned)
        return;
    threads = troupe__child_threads();
    if (threads < 2)
        return;
    all = troupe__processes_lock();
    if (all == NULL)
        return;
    warned = all->warned_threads;
    all->warned_threads = true;
    troupe__processes_unlock();
    if (!warned)
        troupe_log(TROUPE_LOG_WARNING,
                   "this process (pid=%d) is multi-threaded, use of fork() may "
                   "lead to deadlocks in the child",
                   (int)getpid());
}

static int
fork_failed(int error)
{
    uint64_t limit = troupe__child_limit();

    errno = -error;
    if (error == -EAGAIN && limit != UINT64_MAX)
        return troupe__detail(error, "fork: %m (RLIMIT_NPROC is %llu)",
                              (unsigned long long)limit);
    if (error == -EAGAIN)
        return troupe__detail(error, "fork: %m (the limit of the system or of "
                                     "its control group)");
    return troupe__detail(error, "fork: %m");
}

/* A life pipe for a daemon, its write end where all children find it. */
static int
life_begin(troupe_process *p, int *ret_read)
{
    int status;

    if (troupe__processes_lock() == NULL)
        return -ENOMEM;
    status = troupe__life_pipe(ret_read, &p->life_write);
    troupe__processes_unlock();
    if (status < 0) {
        errno = -status;
        return troupe__detail(status, "pipe for a daemon: %m");
    }
    return 0;
}

static void
life_undo(troupe_process *p)
{
    if (troupe__processes_lock() == NULL)
        return;
    if (p->life_write >= 0)
        (void)close(p->life_write);
    p->life_write = -1;
    troupe__processes_unlock();
}

/* The child exists and waits at its gate. */
static int
child_take(troupe_process *p, int32_t pid)
{
    int fd = troupe__child_open(pid);
    bool gone = fd == -ESRCH;

    /* Killed at the gate by somebody, and reaped by the host; its number may be
     * another's already. */
    if (fd >= 0 && !troupe__child_is_ours(fd)) {
        (void)close(fd);
        gone = true;
    }
    if (gone)
        fd = troupe__child_dead_fd();
    if (fd < 0) {
        if (!gone)
            troupe__child_undo(pid);
        errno = -fd;
        return troupe__detail(fd, "pidfd_open: %m");
    }
    if (troupe__processes_lock() == NULL)
        return -ENOMEM;
    p->pidfd = fd;
    p->pid = pid;
    p->ended = gone;
    p->code = TROUPE_EXIT_UNKNOWN;
    troupe__processes_unlock();
    if (gone)
        life_undo(p);
    return 0;
}

int
troupe__process_fork(troupe_process *p, const struct troupe__birth *birth)
{
    int life_read = -1;
    /* The child's copy of it stays as it is. */
    const char *name = troupe_process_name(troupe_process_current());
    sigset_t mask;
    int32_t pid;
    int status = 0;

    if (p->daemon)
        status = life_begin(p, &life_read);
    if (status < 0)
        return status;
    troupe__exit_flush();
    troupe__signals_block(&mask);
    pid = troupe__child_fork();
    if (pid == 0)
        troupe__process_main(p, name, birth, life_read, &mask);
    troupe__signals_restore(&mask);
    if (life_read >= 0)
        (void)close(life_read);
    status = pid < 0 ? fork_failed(pid) : child_take(p, pid);
    if (status < 0)
        life_undo(p);
    return status;
}

static int
check_passed(const troupe_process *p)
{
    size_t i;

    for (i = 0; i < p->pass_count; i++)
        if (!troupe__fd_is_open(p->pass[i]))
            return troupe__detail(-EBADF, "descriptor %d in .pass is not open",
                                  p->pass[i]);
    return 0;
}

/* Each once: a number that was closed may be another thread's by then. */
static void
close_passed(const troupe_process *p)
{
    size_t i;
    size_t k;

    for (i = 0; i < p->pass_count; i++) {
        for (k = 0; k < i && p->pass[k] != p->pass[i]; k++)
            ;
        if (k == i)
            (void)close(p->pass[i]);
    }
}

/* The side of the queue at that place of the handle's list. */
static int
queue_side(const troupe_process *p, size_t at)
{
    return at < p->produces_count ? TROUPE_QUEUE_PUT : TROUPE_QUEUE_GET;
}

static void
undeclare(const troupe_process *p, size_t count)
{
    while (count-- != 0)
        troupe__queue_undeclare(p->queues[count], queue_side(p, count),
                                p->member);
}

/* Tells the queues of the child, all or none. */
static int
declare(const troupe_process *p)
{
    size_t count = p->produces_count + p->consumes_count;
    size_t i;
    int status;

    for (i = 0; i < count; i++) {
        status =
            troupe__queue_declare(p->queues[i], queue_side(p, i), p->member);
        if (status < 0) {
            undeclare(p, i);
            return troupe__detail(
                status, "queue %zu of .%s: %s",
                i < p->produces_count ? i : i - p->produces_count,
                i < p->produces_count ? "produces" : "consumes",
                troupe_strerror(status));
        }
    }
    return 0;
}

/* From the member record to the open gate. */
static int
start_member(troupe_process *p)
{
    struct troupe__birth birth;
    int status;

    status = troupe__member_prepare(
        troupe_process_name(p), p->daemon ? TROUPE__MEMBER_DAEMON : 0, &birth);
    if (status < 0)
        return status;
    p->member = birth.member;
    status = declare(p);
    if (status == 0) {
        status = troupe__process_fork(p, &birth);
        if (status == 0) {
            /* Gone already, its number may be a stranger's: the record would
             * live as long as that one. */
            if (p->ended)
                troupe__member_ended(p->member);
            else
                troupe__member_started(p->member, p->pid);
            return 0;
        }
        undeclare(p, p->produces_count + p->consumes_count);
    }
    troupe__member_ended(p->member);
    return status;
}

int
troupe_process_start(troupe_process *p)
{
    TROUPE__UNCANCELLED;
    int status;

    troupe__detail_clear();
    if (p == NULL)
        return troupe__detail(-EINVAL, "process is NULL");
    status = start_begin(p);
    if (status < 0)
        return status;
    troupe__children_reap();
    warn_threads();
    status = check_passed(p);
    if (status == 0)
        status = start_member(p);
    if (status == 0) {
        close_passed(p);
        free(p->arg_copy);
        p->arg_copy = NULL;
    }
    start_end(p, status);
    return status;
}

/* The child's part. */

static void
not_begun(const char *why, int status)
{
    troupe_log(TROUPE_LOG_CRITICAL, "cannot begin: %s: %s", why,
               troupe_strerror(status));
    _exit(EXIT_NOT_BEGUN);
}

static bool
is_passed(const troupe_process *p, int fd)
{
    size_t i;

    for (i = 0; i < p->pass_count; i++)
        if (p->pass[i] == fd)
            return true;
    return false;
}

/* What the parent has read from stdin and not used is not the child's. */
static void
drop_input(void)
{
#ifdef __GLIBC__
    /* Most have nothing: then the page is not copied. */
    if (stdin->_IO_read_ptr == stdin->_IO_read_end)
        return;
#endif
    __fpurge(stdin);
}

void
troupe__process_main(troupe_process *p, const char *parent_name,
                     const struct troupe__birth *birth, int life_read,
                     const sigset_t *mask)
{
    int status;

    troupe__process_become(p, parent_name, birth);
    status = troupe__member_await(birth);
    if (status < 0)
        not_begun("starting", status);
    status = troupe__member_adopt(birth);
    if (status < 0)
        not_begun("joining the family", status);
    /* No sooner: a handler may ask this process to stop, and would have it join
     * under a record of its own. */
    troupe__signals_restore(mask);
    if (troupe__family_namespace() != birth->name_space)
        troupe__process_hide_parent();
    if (life_read >= 0) {
        status = troupe__life_arm(life_read);
        if (status < 0)
            not_begun("watching the parent", status);
    }
    troupe__child_set_comm(troupe_process_name(p));
    if (!p->keep_stdin && !is_passed(p, STDIN_FILENO)) {
        drop_input();
        troupe__child_null_stdin();
    }
    status = troupe__exit_register_child();
    if (status < 0)
        not_begun("registering the exit", status);
    troupe_log(TROUPE_LOG_INFO, "child process calling self.run()");
    status = p->target != NULL ? p->target(p->arg) : 0;
    troupe_exit(status);
}
