/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handle of a process, and what this process knows about itself and its
 * children. All of it is private memory: a fork child has a copy that is not
 * its own, and begins anew.
 */
#ifndef TROUPE_SRC_PROCESS_PROCESS_H
#define TROUPE_SRC_PROCESS_PROCESS_H

#include "heap/member.h"

#include <troupe/process.h>

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum troupe__process_kind {
    TROUPE__PROCESS_CHILD = 0, /* made by troupe_process_new() */
    TROUPE__PROCESS_MAIN = 1,  /* this process, not started by the library */
    TROUPE__PROCESS_PARENT = 2 /* who started this process */
};

/* A name that was given to a process. They are kept until the handle is freed:
 * somebody may still be reading. */
struct troupe__process_name {
    struct troupe__process_name *older;
    char text[];
};

/*
 * `lock` is the one of troupe__process_lock(). What is not marked is set when
 * the handle is made and constant from then on.
 */
struct troupe_process {
    enum troupe__process_kind kind;
    uint64_t epoch; /* of the process that made it */
    char *identity; /* "1", "1:2": prefix of its children's default names, NULL:
                     * none. It lies behind the struct, as the first name. */
    const char *name;                   /* lock; in names, or static */
    struct troupe__process_name *names; /* lock; those given later */
    int32_t parent_pid;
    void *user; /* atomic */

    int (*target)(void *arg);
    void *arg;
    void *arg_copy; /* freed at the start; NULL: none */
    int *pass;
    size_t pass_count;
    struct troupe_queue *
        *queues; /* first those it produces, then those it consumes */
    size_t produces_count;
    size_t consumes_count;
    bool join_stops;
    bool keep_stdin;

    /* lock */
    bool daemon;
    bool starting;
    bool started;
    bool ended; /* and reaped, or gone */
    bool closed;
    bool hidden;   /* the parent lives in a pid namespace that we cannot see */
    bool told;     /* exit: asked to end */
    bool given_up; /* exit: waited for, or given up waiting */
    bool listed;   /* in the list of children, which then holds a reference */
    bool lent;     /* never freed: children know its name for their parent's */
    unsigned refs; /* the user, the list, lists handed out, calls */
    unsigned pins; /* calls that use pidfd without the lock */
    int code;
    int pidfd;      /* -1: none; kept when it has ended: it is the sentinel */
    int life_write; /* of a daemon: see troupe__life_pipe(); -1: none */
    int32_t pid;
    struct troupe__member_ref member;
    troupe_process *next;
    troupe_process *previous;
};

/* What this process knows. All under the lock. */
struct troupe__processes {
    uint64_t epoch; /* raised in every fork child; 0: not set up */
    troupe_process *current;
    troupe_process *parent; /* NULL, or the one below */
    troupe_process main;    /* current, where nothing else is */
    troupe_process parent_handle;
    troupe_process *first; /* children, by time of start */
    troupe_process *last;
    troupe_process *to_look_at; /* the next to be reaped by a start; or NULL */
    unsigned made;              /* processes, for default names */
    bool warned_threads;
};

/*
 * The lock of everything here. It is held over every fork, so that the child
 * finds it free and what it protects in order: never held while forking, nor
 * while anything blocks. Below it only the lock of the heap's creation may be
 * taken. Its holder is not cancelled: what is called under it has cancellation
 * points.
 *
 * Taking it finds out whether this is a fork child: the state returned is
 * always this process's own. NULL: no memory, and the lock is not held.
 */
struct troupe__processes *troupe__processes_lock(void);
void troupe__processes_unlock(void);

/* Whether the handle was made by another process. Lock held. */
static inline bool
troupe__process_foreign(const struct troupe__processes *all,
                        const troupe_process *process)
{
    return process->epoch != all->epoch;
}

/* 0 if the handle is of a started, not closed child of this process; else what
 * the call is to return. Lock held. */
int troupe__process_check(const struct troupe__processes *all,
                          const troupe_process *process);

/*
 * Looks whether the started child has ended; if so, reaps it. Returns true
 * then. Lock held. The caller calls troupe__member_ended(process->member),
 * without the lock, if *ret_now: it was this call that found it.
 */
bool troupe__process_reap(struct troupe__processes *all,
                          troupe_process *process, bool *ret_now);

/* References. Lock held; unref may free. */
void troupe__process_ref(troupe_process *process);
void troupe__process_unref(troupe_process *process);

/* Puts a child in the list of children, with a reference; takes it out. Lock
 * held. */
void troupe__process_list(struct troupe__processes *all,
                          troupe_process *process);
void troupe__process_unlist(struct troupe__processes *all,
                            troupe_process *process);

/* Sets the name; `name` is copied. 0 or -ENOMEM. Lock held. */
int troupe__process_rename(troupe_process *process, const char *name);

/* In a fork child: this is the process now, and that its parent, whose name
 * stays where it is. */
void troupe__process_become(troupe_process *process, const char *parent_name,
                            const struct troupe__birth *birth);

/* The parent lives in a pid namespace that this process cannot see. */
void troupe__process_hide_parent(void);

/* Whether the handle is that of the calling process. Async-signal-safe. */
bool troupe__process_is_current(const troupe_process *process);

/* Starts it by fork; `birth` is what the child is to know. The handle is marked
 * as starting, in the list, and nobody else touches it. Returns in the parent
 * only: 0, with pid, pidfd, life_write and member filled in, or -errno with the
 * error detail set. */
int troupe__process_fork(troupe_process *process,
                         const struct troupe__birth *birth);

/* The rest of a started child's life, from the first instruction on. Called
 * with signals blocked; `mask` is the one that its target is to have. */
void troupe__process_main(troupe_process *process, const char *parent_name,
                          const struct troupe__birth *birth, int life_read,
                          const sigset_t *mask) __attribute__((noreturn));

#endif
