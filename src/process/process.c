/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include "exit.h"
#include "parent.h"

#include "base/atomic.h"
#include "heap/detail.h"
#include "heap/options.h"
#include "heap/wait.h"
#include "os/cancel.h"
#include "os/child.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(troupe_process_options) == 112, "no padding at the end");

/* What default names begin with. */
#define PREFIX "Process-"

/* A copy of an array; *ret_copy NULL for an empty one. */
static int
copy_array(void *ret_copy, const void *array, size_t count, size_t size)
{
    size_t bytes;
    void *copy = NULL;

    if (count != 0) {
        if (__builtin_mul_overflow(count, size, &bytes))
            return -ENOMEM;
        copy = malloc(bytes);
        if (copy == NULL)
            return -ENOMEM;
        memcpy(copy, array, bytes);
    }
    memcpy(ret_copy, &copy, sizeof(copy));
    return 0;
}

static int
check_options(const troupe_process_options *o)
{
    size_t i;

    switch (o->start_method) {
    case TROUPE_START_DEFAULT:
    case TROUPE_START_FORK:
        break;
    case TROUPE_START_SPAWN:
    case TROUPE_START_FORKSERVER:
    case TROUPE_START_THREAD:
        return troupe__detail(-ENOTSUP, "start method %d",
                              (int)o->start_method);
    default:
        return troupe__detail(-EINVAL, "start method %d", (int)o->start_method);
    }
    for (i = 0; i < sizeof(o->reserved_); i++)
        if (o->reserved_[i] != 0)
            return troupe__detail(-E2BIG, "an option that this library does "
                                          "not know");
    if ((o->arg == NULL && o->arg_size != 0) ||
        (o->pass == NULL && o->pass_count != 0) ||
        (o->produces == NULL && o->produces_count != 0) ||
        (o->consumes == NULL && o->consumes_count != 0))
        return troupe__detail(-EINVAL, "a count without its list");
    for (i = 0; i < o->pass_count; i++)
        if (o->pass[i] < 0)
            return troupe__detail(-EINVAL, "descriptor %d in .pass",
                                  o->pass[i]);
    for (i = 0; i < o->produces_count; i++)
        if (o->produces[i] == NULL)
            return troupe__detail(-EINVAL, "NULL in .produces");
    for (i = 0; i < o->consumes_count; i++)
        if (o->consumes[i] == NULL)
            return troupe__detail(-EINVAL, "NULL in .consumes");
    return 0;
}

/* Copies what the caller may take away once the handle is made. */
static int
copy_options(troupe_process *p, const troupe_process_options *o)
{
    size_t queues;
    size_t i;
    int status;

    p->target = o->target;
    memcpy(&p->arg, &o->arg, sizeof(p->arg));
    status = copy_array(&p->arg_copy, o->arg, o->arg_size, 1);
    if (o->arg_size != 0)
        p->arg = p->arg_copy;
    if (status == 0)
        status = copy_array(&p->pass, o->pass, o->pass_count, sizeof(*p->pass));
    if (status < 0)
        return status;
    p->pass_count = o->pass_count;
    if (__builtin_add_overflow(o->produces_count, o->consumes_count, &queues))
        return -ENOMEM;
    if (queues != 0) {
        p->queues = calloc(queues, sizeof(void *));
        if (p->queues == NULL)
            return -ENOMEM;
        for (i = 0; i < o->produces_count; i++)
            p->queues[i] = o->produces[i];
        for (i = 0; i < o->consumes_count; i++)
            p->queues[o->produces_count + i] = o->consumes[i];
    }
    p->produces_count = o->produces_count;
    p->consumes_count = o->consumes_count;
    p->user = o->user;
    p->daemon = o->daemon;
    p->join_stops = o->join_stops;
    p->keep_stdin = o->keep_stdin;
    return 0;
}

/* The most digits of a number of processes, and a NUL. */
#define NUMBER_ROOM 11

/* A handle with room behind it for its identity and its first name, one after
 * the other. */
static troupe_process *
handle_new(const char *name)
{
    const char *mine = troupe_process_current()->identity;
    size_t identity = (mine != NULL ? strlen(mine) + 1 : 0) + NUMBER_ROOM;
    size_t length = name != NULL ? strlen(name) : strlen(PREFIX) + identity;
    troupe_process *p = calloc(1, sizeof(*p) + identity + length + 1);

    if (p == NULL)
        return NULL;
    p->refs = 1;
    p->pidfd = -1;
    p->life_write = -1;
    p->identity = (char *)(p + 1);
    p->name = p->identity + identity;
    if (name != NULL)
        memcpy(p->identity + identity, name, length + 1);
    return p;
}

/* Its identity, and a name from that unless it has one, by the number of
 * processes that this one has made. Without printf: a page less to touch. */
static void
handle_name(troupe_process *p, const char *mine, unsigned number, bool named)
{
    char digits[NUMBER_ROOM];
    char *digit = digits + sizeof(digits) - 1;
    char *at = p->identity;

    *digit = '\0';
    do
        *--digit = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    if (mine != NULL) {
        at = stpcpy(at, mine);
        *at++ = ':';
    }
    (void)stpcpy(at, digit);
    if (!named) {
        at = p->identity + (p->name - p->identity);
        (void)stpcpy(stpcpy(at, PREFIX), p->identity);
    }
}

int
troupe_process_new(troupe_process **ret_process,
                   const troupe_process_options *options)
{
    struct troupe__processes *all;
    troupe_process_options o;
    troupe_process *p;
    int status;

    troupe__detail_clear();
    if (ret_process == NULL)
        return troupe__detail(-EINVAL, "ret_process is NULL");
    status = troupe__options_copy(&o, sizeof(o), options);
    if (status == 0)
        status = check_options(&o);
    if (status < 0)
        return status;
    p = handle_new(o.name);
    if (p == NULL)
        return troupe__detail(-ENOMEM, "memory for a process");
    status = copy_options(p, &o);
    if (status == 0)
        status = troupe__exit_register();
    all = status == 0 ? troupe__processes_lock() : NULL;
    if (all != NULL) {
        p->epoch = all->epoch;
        p->parent_pid = (int32_t)getpid();
        handle_name(p, all->current->identity, ++all->made, o.name != NULL);
        troupe__processes_unlock();
    }
    if (all == NULL) {
        troupe__process_unref(p);
        return troupe__detail(-ENOMEM, "memory for a process");
    }
    *ret_process = p;
    return 0;
}

void
troupe_process_free(troupe_process *p)
{
    struct troupe__processes *all;

    if (p == NULL || p->kind != TROUPE__PROCESS_CHILD ||
        troupe__process_is_current(p))
        return;
    all = troupe__processes_lock();
    if (all == NULL)
        return;
    /* A copy that a fork made: lists and calls that refer to it are the
     * parent's. */
    if (troupe__process_foreign(all, p))
        p->refs = 1;
    if (!p->lent)
        troupe__process_unref(p);
    troupe__processes_unlock();
}

int
troupe__process_check(const struct troupe__processes *all,
                      const troupe_process *p)
{
    if (p->closed)
        return -ESHUTDOWN;
    if (p->kind != TROUPE__PROCESS_CHILD || p == all->current ||
        troupe__process_foreign(all, p))
        return -ECHILD;
    return p->started ? 0 : -ESRCH;
}

static bool
is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

bool
troupe__process_reap(struct troupe__processes *all, troupe_process *p,
                     bool *ret_now)
{
    uint32_t record;
    int status;
    int code;

    *ret_now = false;
    if (p->ended)
        return true;
    status = troupe__child_reap(p->pidfd, &code);
    if (status == 0 || (status < 0 && !is_readable(p->pidfd)))
        return false;
    /* Somebody else was faster: the host, or the kernel where SIGCHLD is
     * ignored. */
    if (status < 0 && !troupe__child_recall(p->pidfd, &code)) {
        record = troupe__member_exit_record(p->member);
        code = record != 0 ? (int)(record >> 8 & 0xff) : TROUPE_EXIT_UNKNOWN;
    }
    p->code = code;
    p->ended = true;
    if (p->life_write >= 0)
        (void)close(p->life_write);
    p->life_write = -1;
    *ret_now = true;
    troupe__process_unlist(all, p);
    return true;
}

/*
 * Looks a child up: 0 with *ret_ended, or what check() says. What the dead one
 * left in the family is recovered at once if this call has found it dead.
 */
static int
look(troupe_process *p, bool *ret_ended)
{
    TROUPE__UNCANCELLED;
    struct troupe__processes *all = troupe__processes_lock();
    struct troupe__member_ref member;
    bool now = false;
    int status;

    *ret_ended = false;
    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    if (status == 0) {
        troupe__process_ref(p);
        *ret_ended = troupe__process_reap(all, p, &now);
        member = p->member;
        troupe__process_unref(p);
    }
    troupe__processes_unlock();
    if (now)
        troupe__member_ended(member);
    return status;
}

bool
troupe_process_is_alive(troupe_process *p)
{
    TROUPE__UNCANCELLED;
    bool ended;

    if (p == NULL)
        return false;
    if (troupe__process_is_current(p))
        return true;
    if (p->kind == TROUPE__PROCESS_PARENT)
        return troupe__parent_is_alive(p);
    return look(p, &ended) == 0 && !ended;
}

enum troupe_process_state
troupe_process_state(troupe_process *p)
{
    bool ended;
    int status;

    if (p == NULL)
        return TROUPE_PROCESS_UNKNOWN;
    if (troupe__process_is_current(p))
        return TROUPE_PROCESS_STARTED;
    status = look(p, &ended);
    if (status == -ESHUTDOWN)
        return TROUPE_PROCESS_CLOSED;
    if (status == -ESRCH)
        return TROUPE_PROCESS_INITIAL;
    if (status < 0)
        return TROUPE_PROCESS_UNKNOWN;
    return ended ? TROUPE_PROCESS_STOPPED : TROUPE_PROCESS_STARTED;
}

int
troupe_process_exitcode(troupe_process *p, int *ret_code)
{
    bool ended;
    int status;

    if (p == NULL || ret_code == NULL)
        return -EINVAL;
    status = look(p, &ended);
    if (status == -ESRCH || (status == 0 && !ended))
        return -EAGAIN;
    if (status == 0)
        *ret_code = p->code; /* constant since it was reaped */
    return status;
}

static int
send_signal(troupe_process *p, int signo)
{
    struct troupe__processes *all;
    int status;

    if (p == NULL)
        return -EINVAL;
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    if (status == 0 && !p->ended) {
        status = troupe__child_signal(p->pidfd, signo);
        /* It may have ended and not been reaped; no error. */
        if (status == -ESRCH)
            status = 0;
    }
    troupe__processes_unlock();
    return status;
}

int
troupe_process_terminate(troupe_process *p)
{
    return send_signal(p, SIGTERM);
}

int
troupe_process_kill(troupe_process *p)
{
    return send_signal(p, SIGKILL);
}

pid_t
troupe_process_pid(const troupe_process *p)
{
    pid_t pid;

    if (p == NULL)
        return 0;
    if (troupe__process_is_current(p))
        return getpid();
    if (p->kind == TROUPE__PROCESS_PARENT)
        return p->pid;
    if (troupe__processes_lock() == NULL)
        return 0;
    pid = p->started && !p->closed ? p->pid : 0;
    troupe__processes_unlock();
    return pid;
}

const char *
troupe_process_name(const troupe_process *p)
{
    return p == NULL ? "" : troupe__load_acquire(&p->name);
}

int
troupe_process_set_name(troupe_process *p, const char *name)
{
    struct troupe__member *here;
    int status = -ENOMEM;

    if (p == NULL || name == NULL)
        return -EINVAL;
    if (troupe__processes_lock() == NULL)
        return -ENOMEM;
    status = troupe__process_rename(p, name);
    here = troupe__member_here();
    if (status == 0 && here != NULL && troupe__process_is_current(p))
        troupe__member_rename(here, name);
    troupe__processes_unlock();
    return status;
}

bool
troupe_process_daemon(const troupe_process *p)
{
    bool daemon;

    if (p == NULL || troupe__processes_lock() == NULL)
        return false;
    daemon = p->daemon;
    troupe__processes_unlock();
    return daemon;
}

int
troupe_process_set_daemon(troupe_process *p, bool daemon)
{
    struct troupe__processes *all;
    int status = 0;

    if (p == NULL)
        return -EINVAL;
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    if (p->closed)
        status = -ESHUTDOWN;
    else if (p->started || p->starting || p == all->current)
        status = -EBUSY;
    else if (p->kind != TROUPE__PROCESS_CHILD ||
             troupe__process_foreign(all, p))
        status = -EXDEV;
    else
        p->daemon = daemon;
    troupe__processes_unlock();
    return status;
}

void *
troupe_process_user(const troupe_process *p)
{
    return p == NULL ? NULL : troupe__load_acquire(&p->user);
}

int
troupe_process_set_user(troupe_process *p, void *user)
{
    if (p == NULL)
        return -EINVAL;
    troupe__store_release(&p->user, user);
    return 0;
}

int
troupe_process_sentinel(troupe_process *p, int *ret_fd)
{
    struct troupe__processes *all;
    int status;

    if (p == NULL || ret_fd == NULL)
        return -EINVAL;
    if (p->kind == TROUPE__PROCESS_PARENT)
        return troupe__parent_sentinel(p, ret_fd);
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    if (status == 0)
        *ret_fd = p->pidfd;
    troupe__processes_unlock();
    return status;
}

int
troupe_process_close(troupe_process *p)
{
    TROUPE__UNCANCELLED;
    struct troupe__processes *all;
    struct troupe__member_ref member = {0, 0};
    bool now = false;
    int status;

    if (p == NULL)
        return -EINVAL;
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    if (p == all->current || p->starting ||
        (status == 0 && !troupe__process_reap(all, p, &now)))
        status = -EBUSY;
    else if (status == -ESHUTDOWN || status == -ESRCH)
        status = 0;
    if (status == 0 && !p->closed) {
        p->closed = true;
        member = p->member;
        /* A thread in join may be about to poll the descriptor. */
        if (p->pins == 0 && p->pidfd >= 0) {
            (void)close(p->pidfd);
            p->pidfd = -1;
        }
    }
    troupe__processes_unlock();
    if (now)
        troupe__member_ended(member);
    return status;
}

/* Begins or ends a use of the pidfd without the lock. */
static int
pin(troupe_process *p, bool *ret_ended)
{
    struct troupe__processes *all = troupe__processes_lock();
    int status;

    if (all == NULL)
        return -ENOMEM;
    status = troupe__process_check(all, p);
    *ret_ended = p->ended;
    if (status == 0 && !p->ended) {
        troupe__process_ref(p);
        p->pins++;
    }
    troupe__processes_unlock();
    return status;
}

static void
unpin(troupe_process *p)
{
    (void)troupe__processes_lock();
    if (--p->pins == 0 && p->closed && p->pidfd >= 0) {
        (void)close(p->pidfd);
        p->pidfd = -1;
    }
    troupe__process_unref(p);
    troupe__processes_unlock();
}

/* Whether it has ended, for a thread that has pinned it: also true when another
 * thread has closed the handle meanwhile. */
static bool
has_ended(troupe_process *p)
{
    struct troupe__processes *all = troupe__processes_lock();
    struct troupe__member_ref member = p->member;
    bool now;
    bool ended = troupe__process_reap(all, p, &now);

    troupe__processes_unlock();
    if (now)
        troupe__member_ended(member);
    return ended;
}

int
troupe_process_join(troupe_process *p, troupe_deadline deadline)
{
    TROUPE__UNCANCELLED;
    struct troupe__thread *self;
    struct troupe__wait wait;
    struct pollfd fd;
    bool ended;
    int status;

    if (p == NULL)
        return -EINVAL;
    if (p->kind == TROUPE__PROCESS_PARENT)
        return troupe__parent_join(p, deadline);
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    status = pin(p, &ended);
    if (status < 0 || ended)
        return status;
    if (p->join_stops)
        troupe__member_stop(p->member);
    fd.fd = p->pidfd;
    fd.events = POLLIN;
    troupe__wait_begin(&wait, self, troupe__member_at(p->member.number - 1),
                       TROUPE__KIND_PROCESS, deadline);
    for (;;) {
        status = troupe__wait_poll(&wait, &fd, 1);
        if (status > 0) {
            if (has_ended(p)) {
                status = 0;
                break;
            }
            /* It has ended, but is still its debugger's. */
            status = troupe__wait_poll(&wait, NULL, 0);
        }
        if (status < 0)
            break;
    }
    troupe__wait_end(&wait);
    unpin(p);
    return status;
}
