/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include "base/atomic.h"
#include "heap/family.h"
#include "os/cancel.h"
#include "os/signals.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct troupe__processes processes = {
    .current = &processes.main,
    .main = {.kind = TROUPE__PROCESS_MAIN,
             .name = "MainProcess",
             .refs = 1,
             .pidfd = -1,
             .life_write = -1},
    .parent_handle = {.pidfd = -1, .life_write = -1},
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int cancel_state;   /* lock; of the thread that holds it */
static sigset_t fork_mask; /* lock; of the thread that forks */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

/* A handle that was not made by troupe_process_new(). */
static void
handle_init(troupe_process *p, enum troupe__process_kind kind, const char *name)
{
    memset(p, 0, sizeof(*p));
    p->kind = kind;
    p->epoch = processes.epoch;
    p->name = name;
    p->refs = 1;
    p->pidfd = -1;
    p->life_write = -1;
}

static void
names_free(troupe_process *p)
{
    struct troupe__process_name *name;

    while ((name = p->names) != NULL) {
        p->names = name->older;
        free(name);
    }
}

/*
 * This process has just been forked: what there is is a copy of its parent's.
 * The children are not ours; but we must not hold the write ends of their life
 * pipes, or they would not notice their parent's death. The handle of the
 * parent's parent stays what it was: somebody may have it, and print it.
 */
static void
begin_anew(void)
{
    troupe_process *p;
    troupe_process *main = &processes.main;

    for (p = processes.first; p != NULL; p = p->next)
        if (p->life_write >= 0)
            (void)close(p->life_write);
    troupe__store_relaxed(&processes.epoch, processes.epoch + 1);
    handle_init(main, TROUPE__PROCESS_MAIN, "MainProcess");
    /* release: is_current() looks without the lock. */
    troupe__store_release(&processes.current, main);
    processes.parent = NULL;
    processes.first = NULL;
    processes.last = NULL;
    processes.to_look_at = NULL;
    processes.made = 0;
    processes.warned_threads = false;
}

/* This process knows that it is one of its own. */
static void
place_confirm(struct troupe__place *place)
{
    troupe__store_release(&place->epoch, processes.epoch);
}

/* Its holder is not cancelled: the next fork would wait for ever. */
static void
lock_take(void)
{
    int cancel = troupe__cancel_off();

    (void)pthread_mutex_lock(&lock);
    cancel_state = cancel;
}

static void
lock_give(void)
{
    int cancel = cancel_state;

    (void)pthread_mutex_unlock(&lock);
    troupe__cancel_restore(&cancel);
}

/* Signals wait until the child knows that it is one: a handler that asks for
 * troupe_process_current() before that would wait for the lock which its own
 * thread holds. */
static void
before_fork(void)
{
    sigset_t mask;

    troupe__signals_block(&mask);
    lock_take();
    fork_mask = mask;
}

static void
after_fork(void)
{
    sigset_t mask = fork_mask;

    lock_give();
    troupe__signals_restore(&mask);
}

static void
after_fork_child(void)
{
    struct troupe__place *place = troupe__place_get();

    if (processes.epoch != 0) {
        begin_anew();
        if (place != NULL)
            place_confirm(place);
    }
    after_fork();
}

static void
set_up(void)
{
    once_error = pthread_atfork(before_fork, after_fork, after_fork_child);
}

struct troupe__processes *
troupe__processes_lock(void)
{
    struct troupe__place *place = troupe__place_get();

    if (pthread_once(&once, set_up) != 0 || once_error != 0 || place == NULL)
        return NULL;
    lock_take();
    /* The place is zeroed in a child by whatever call it was made, also one
     * that runs no handlers. */
    if (place->epoch != processes.epoch || processes.epoch == 0) {
        begin_anew();
        place_confirm(place);
    }
    return &processes;
}

void
troupe__processes_unlock(void)
{
    lock_give();
}

/* Without the lock, for signal handlers, wherever it is known that no fork has
 * gone unnoticed: then nobody changes what is read here but this process
 * itself, before it runs any code of its user's. */
troupe_process *
troupe_process_current(void)
{
    const struct troupe__place *place = troupe__place_peek();
    uint64_t epoch = troupe__load_relaxed(&processes.epoch);
    troupe_process *current;

    /* acquire: pairs with the release in place_confirm(). */
    if (epoch == 0 ||
        (place != NULL && troupe__load_acquire(&place->epoch) == epoch))
        return troupe__load_acquire(&processes.current);
    if (troupe__processes_lock() == NULL)
        return &processes.main;
    current = processes.current;
    troupe__processes_unlock();
    return current;
}

bool
troupe__process_is_current(const troupe_process *p)
{
    return troupe__load_acquire(&processes.current) == p;
}

void
troupe__process_become(troupe_process *p, const char *parent_name,
                       const struct troupe__birth *birth)
{
    troupe_process *handle = &processes.parent_handle;

    if (troupe__processes_lock() == NULL)
        return;
    if (handle->pidfd >= 0)
        (void)close(handle->pidfd); /* of the parent's parent */
    handle_init(handle, TROUPE__PROCESS_PARENT, parent_name);
    handle->pid = birth->parent_pid;
    handle->member = birth->parent;
    handle->started = true;
    processes.parent = handle;
    troupe__store_release(&processes.current, p);
    troupe__processes_unlock();
}

void
troupe__process_hide_parent(void)
{
    if (troupe__processes_lock() != NULL) {
        processes.parent_handle.hidden = true;
        troupe__processes_unlock();
    }
}

void
troupe__process_ref(troupe_process *p)
{
    p->refs++;
}

void
troupe__process_unref(troupe_process *p)
{
    if (--p->refs != 0)
        return;
    if (p->pidfd >= 0)
        (void)close(p->pidfd);
    names_free(p);
    free(p->arg_copy);
    free(p->pass);
    free(p->queues);
    free(p);
}

void
troupe__process_list(struct troupe__processes *all, troupe_process *p)
{
    troupe__process_ref(p);
    p->listed = true;
    p->next = NULL;
    p->previous = all->last;
    if (all->last != NULL)
        all->last->next = p;
    else
        all->first = p;
    all->last = p;
}

void
troupe__process_unlist(struct troupe__processes *all, troupe_process *p)
{
    if (!p->listed)
        return;
    if (p->next != NULL)
        p->next->previous = p->previous;
    else
        all->last = p->previous;
    if (p->previous != NULL)
        p->previous->next = p->next;
    else
        all->first = p->next;
    if (all->to_look_at == p)
        all->to_look_at = p->next;
    p->next = NULL;
    p->previous = NULL;
    p->listed = false;
    troupe__process_unref(p);
}

int
troupe__process_rename(troupe_process *p, const char *name)
{
    size_t length = strlen(name);
    struct troupe__process_name *n = malloc(sizeof(*n) + length + 1);

    if (n == NULL)
        return -ENOMEM;
    memcpy(n->text, name, length + 1);
    n->older = p->names;
    p->names = n;
    /* release: name() looks without the lock. */
    troupe__store_release(&p->name, n->text);
    return 0;
}
