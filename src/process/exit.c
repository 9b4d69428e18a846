/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process.
 *
 * exit(3) calls what was registered, the youngest first. The root registers its
 * sequence when it first uses a process, a finalizer or the log, and goes on to
 * older handlers after it. A started child registers before its target runs; so
 * the target's own handlers come first, then the sequence, and then the child
 * leaves by _exit(2), before those that it has inherited. These are two: when
 * somebody calls exit(3) in the sequence the libc goes on with what is left.
 *
 * Whoever inherits a registration by a fork of its own is recognised by its
 * epoch: it does not run the sequence of another process.
 */
#include "exit.h"

#include "process.h"

#include "base/atomic.h"
#include "heap/directory.h"
#include "heap/family.h"
#include "heap/slot.h"
#include "ipc/queue.h"
#include "os/cancel.h"

#include <troupe/log.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <unistd.h>

struct finalizer {
    struct finalizer *next;
    uint64_t number; /* by time of creation */
    void (*call)(void *arg);
    void *arg;
    int priority;
};

/* All under the lock of the processes, and the process's whose epoch it is. */
static struct {
    uint64_t epoch;
    uint64_t registered;     /* epoch of the process that has registered */
    struct finalizer *first; /* by priority and age, as they are called */
    uint64_t made;
    bool running;
    bool late;        /* forked while another thread was running the sequence */
    pthread_t runner; /* if running */
} state;

/* Takes the lock; a fork child finds nothing of its parent's. */
static struct troupe__processes *
state_lock(void)
{
    struct troupe__processes *all = troupe__processes_lock();

    if (all != NULL && state.epoch != all->epoch) {
        /* Numbers go on: an old one must not come to mean a new finalizer. */
        state.epoch = all->epoch;
        state.late =
            state.running && !pthread_equal(state.runner, pthread_self());
        state.running = false;
        while (state.first != NULL) {
            struct finalizer *f = state.first;

            state.first = f->next;
            free(f);
        }
    }
    return all;
}

/* Adds a finalizer; one that is `early` not when the exit has begun. */
static int
add(void (*call)(void *arg), void *arg, int priority, bool early,
    uint64_t *ret_finalizer)
{
    struct troupe__processes *all;
    struct finalizer **place;
    struct finalizer *f;

    if (troupe__exit_register() < 0)
        return -ENOMEM;
    f = malloc(sizeof(*f));
    if (f == NULL)
        return -ENOMEM;
    f->call = call;
    f->arg = arg;
    f->priority = priority;
    all = state_lock();
    if (all == NULL || (early && state.running)) {
        if (all != NULL)
            troupe__processes_unlock();
        free(f);
        return all == NULL ? -ENOMEM : -ESHUTDOWN;
    }
    f->number = ++state.made;
    place = &state.first;
    while (*place != NULL && (*place)->priority > priority)
        place = &(*place)->next;
    f->next = *place;
    *place = f;
    if (ret_finalizer != NULL)
        *ret_finalizer = f->number;
    troupe__processes_unlock();
    return 0;
}

int
troupe_finalizer_add(void (*call)(void *arg), void *arg, int priority,
                     uint64_t *ret_finalizer)
{
    if (call == NULL)
        return -EINVAL;
    return add(call, arg, priority, false, ret_finalizer);
}

int
troupe__exit_add(void (*call)(void *arg), void *arg, int priority,
                 uint64_t *ret_finalizer)
{
    return add(call, arg, priority, true, ret_finalizer);
}

/* Takes a finalizer out of the list; NULL: it is not there. */
static struct finalizer *
finalizer_take(uint64_t number)
{
    struct finalizer **place;
    struct finalizer *f = NULL;

    if (state_lock() == NULL)
        return NULL;
    for (place = &state.first; *place != NULL; place = &(*place)->next) {
        if ((*place)->number == number) {
            f = *place;
            *place = f->next;
            break;
        }
    }
    troupe__processes_unlock();
    if (f == NULL)
        troupe_log(TROUPE_LOG_SUBDEBUG, "finalizer no longer registered");
    return f;
}

int
troupe_finalizer_cancel(uint64_t number)
{
    struct finalizer *f = finalizer_take(number);

    if (f == NULL)
        return -ENOENT;
    free(f);
    return 0;
}

int
troupe_finalizer_call(uint64_t number)
{
    struct finalizer *f = finalizer_take(number);

    if (f == NULL)
        return -ENOENT;
    f->call(f->arg);
    free(f);
    return 0;
}

/* Calls those of at least this priority that exist when it begins. */
static void
finalizers_run(int priority)
{
    uint64_t last;

    if (state_lock() == NULL)
        return;
    last = state.made;
    troupe__processes_unlock();
    for (;;) {
        struct finalizer **place;
        struct finalizer *f = NULL;

        if (state_lock() == NULL)
            return;
        for (place = &state.first;
             *place != NULL && (*place)->priority >= priority;
             place = &(*place)->next) {
            if ((*place)->number <= last) {
                f = *place;
                *place = f->next;
                break;
            }
        }
        troupe__processes_unlock();
        if (f == NULL)
            return;
        troupe_log(TROUPE_LOG_SUBDEBUG,
                   "calling <finalizer %llu, "
                   "exitpriority=%d>",
                   (unsigned long long)f->number, f->priority);
        f->call(f->arg);
        free(f);
    }
}

/*
 * The next child to be ended, with a reference: a daemon that was not asked to
 * end yet, else one that was not waited for, *ret_join then. Another thread may
 * start daemons meanwhile: they too are asked before they are waited for.
 */
static troupe_process *
child_next(bool *ret_join)
{
    struct troupe__processes *all = troupe__processes_lock();
    troupe_process *p;

    if (all == NULL)
        return NULL;
    *ret_join = false;
    for (p = all->first; p != NULL; p = p->next)
        if (p->started && p->daemon && !p->told)
            break;
    if (p == NULL) {
        *ret_join = true;
        for (p = all->first; p != NULL; p = p->next)
            if (p->started && !p->given_up)
                break;
    }
    if (p != NULL) {
        *(*ret_join ? &p->given_up : &p->told) = true;
        troupe__process_ref(p);
    }
    troupe__processes_unlock();
    return p;
}

static void
child_release(troupe_process *p)
{
    if (troupe__processes_lock() != NULL) {
        troupe__process_unref(p);
        troupe__processes_unlock();
    }
}

static bool
has_children(void)
{
    struct troupe__processes *all = troupe__processes_lock();
    bool any;

    if (all == NULL)
        return false;
    any = all->first != NULL;
    troupe__processes_unlock();
    return any;
}

/*
 * An exit is a death: what this thread holds (locks, reservations, leases), and
 * what this process is declared for in queues, is given up as if it had been
 * killed. Children that are about to be waited for may be waiting for it. What
 * other threads hold they may still be using, and may still give back.
 */
static void
holdings_end(void)
{
    struct troupe__thread *self = troupe__thread_self;
    int status;

    /* In the middle of a call of the library nothing can be taken away. */
    if (self->tag == 0 || self->locks != 0)
        return;
    troupe__slot_leave(self);
    /* At once: a process without a thread in the family can be taken for one
     * that has left it. */
    (void)troupe__thread_enter(&status);
}

/* The part of it that is this process's, not this thread's. False: not now, a
 * lock is held by somebody who takes long, or was stopped. */
static bool
roles_end(void)
{
    struct troupe__thread *self = troupe__thread_self;
    bool ended;

    if (self->tag == 0 || self->locks != 0)
        return true;
    if (!troupe__directory_lock(self))
        return false;
    ended = troupe__queue_recovery.member(self->member,
                                          self->slot->member_generation);
    troupe__directory_unlock(self);
    return ended;
}

/* Waits for a child without being in the family, which a thread at its end may
 * not come into again. */
static void
join_bare(troupe_process *p)
{
    struct pollfd child = {.events = POLLIN};

    if (troupe_process_sentinel(p, &child.fd) < 0)
        return;
    /* The join has failed before it could do so. */
    if (p->join_stops)
        (void)troupe_process_stop(p);
    while (poll(&child, 1, -1) < 0 && errno == EINTR) {
    }
}

static void
children_end(void)
{
    troupe_process *p;
    bool ended;
    bool join;

    if (!has_children())
        return;
    ended = roles_end();
    holdings_end();
    while ((p = child_next(&join)) != NULL) {
        if (troupe_process_is_alive(p)) {
            troupe_log(TROUPE_LOG_INFO,
                       join ? "calling join() for process %s"
                            : "calling terminate() for daemon %s",
                       troupe_process_name(p));
            /* It may be waiting for the end of this process's roles. */
            while (join && !ended && troupe_process_is_alive(p))
                ended = roles_end();
            if (!join)
                (void)troupe_process_terminate(p);
            else if (troupe_process_join(p, TROUPE_FOREVER) < 0)
                join_bare(p);
        }
        child_release(p);
    }
}

/* Once per process. */
static void
run_sequence(void)
{
    TROUPE__UNCANCELLED;
    bool again;

    if (state_lock() == NULL)
        return;
    again = state.running;
    state.running = true;
    if (!again)
        state.runner = pthread_self();
    troupe__processes_unlock();
    if (again)
        return;
    /* A process that was asked to stop waits for its children none the less. */
    if (troupe__thread_self->tag != 0)
        troupe__thread_self->stoppable = 0;
    troupe_log(TROUPE_LOG_INFO, "process shutting down");
    troupe_log(TROUPE_LOG_DEBUG,
               "running all \"atexit\" finalizers with priority >= 0");
    finalizers_run(0);
    children_end();
    troupe_log(TROUPE_LOG_DEBUG, "running the remaining \"atexit\" finalizers");
    finalizers_run(INT_MIN);
}

/* A flush takes the stream's lock, and that alone is a page to be copied by a
 * process that has just forked. */
static bool
has_output(FILE *stream)
{
#ifdef __GLIBC__
    /* As __fpending() does for streams of bytes, without the page it is on. */
    if (stream->_mode <= 0)
        return stream->_IO_write_ptr > stream->_IO_write_base;
#endif
    return __fpending(stream) != 0;
}

void
troupe__exit_flush(void)
{
    if (has_output(stdout))
        (void)fflush(stdout);
    if (has_output(stderr))
        (void)fflush(stderr);
}

/* Whether the calling process is the one that registered. */
static bool
registered_here(void)
{
    struct troupe__processes *all = troupe__processes_lock();
    bool here;

    if (all == NULL)
        return false;
    here = state.registered == all->epoch;
    troupe__processes_unlock();
    return here;
}

static void
root_exits(void)
{
    if (registered_here())
        run_sequence();
}

static void
child_exits(int status, void *unused)
{
    (void)status;
    (void)unused;
    if (registered_here())
        run_sequence();
}

static void
child_leaves(int status, void *unused)
{
    struct troupe__member *here = NULL;

    (void)unused;
    if (registered_here()) {
        troupe_log(TROUPE_LOG_INFO, "process exiting with exitcode %d", status);
        here = troupe__member_here();
    }
    troupe__exit_flush();
    /* Last, for a signal may end the process in the flush. */
    if (here != NULL)
        troupe__store_release(&here->exit_record,
                              UINT32_C(1) << 31 | ((uint32_t)status & 0xff)
                                                      << 8);
    _exit(status);
}

/* Whether this process is to register, which is then marked as done. */
static bool
register_begin(void)
{
    struct troupe__processes *all = state_lock();
    bool first;

    if (all == NULL)
        return false;
    first = state.registered != all->epoch;
    state.registered = all->epoch;
    troupe__processes_unlock();
    return first;
}

/* It could not: the next who asks tries again. */
static int
register_undo(void)
{
    if (troupe__processes_lock() != NULL) {
        state.registered = 0;
        troupe__processes_unlock();
    }
    return -ENOMEM;
}

int
troupe__exit_register(void)
{
    if (!register_begin() || atexit(root_exits) == 0)
        return 0;
    return register_undo();
}

int
troupe__exit_register_child(void)
{
    /* Also when a handler of pthread_atfork has registered it as a root. */
    (void)register_begin();
    if (on_exit(child_leaves, NULL) == 0 && on_exit(child_exits, NULL) == 0)
        return 0;
    return register_undo();
}

/*
 * Whether this child was started while another thread of its parent was in
 * exit(3). The libc may then hold a lock for it that is never given back here
 * (glibc from 2.41 on).
 */
static bool
is_late_child(void)
{
    struct troupe__processes *all = state_lock();
    bool late;

    if (all == NULL)
        return false;
    late = state.late && all->parent != NULL;
    troupe__processes_unlock();
    return late;
}

void
troupe_exit(int status)
{
    if (is_late_child()) {
        child_exits(status, NULL);
        child_leaves(status, NULL);
    }
    exit(status); /* NOLINT(concurrency-mt-unsafe): as the caller wants it */
}
