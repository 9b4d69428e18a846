/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes as the kernel knows them. A child is named by a pidfd, which
 * never comes to mean another process.
 */
#ifndef TROUPE_SRC_OS_CHILD_H
#define TROUPE_SRC_OS_CHILD_H

#include <stdbool.h>
#include <stdint.h>

/* fork(2) with all the handlers of the libc: the child's number, 0 in the
 * child, or -errno. */
int32_t troupe__child_fork(void);

/* A pidfd for a child that has just been forked, above the standard streams and
 * closed on exec. -ESRCH: the host has reaped it already. */
int troupe__child_open(int32_t pid);

/* Whether the pidfd is that of a child of the calling process, which nobody has
 * reaped. */
bool troupe__child_is_ours(int pidfd);

/* Gets rid of a child that has just been forked and must not be. */
void troupe__child_undo(int32_t pid);

/*
 * Reaps a child without waiting: 1 and its code (0..255, -signal), 0 when it
 * has not ended, -ECHILD when somebody else reaped it.
 */
int troupe__child_reap(int pidfd, int *ret_code);

/* The code of a child that somebody else reaped, from the kernel's memory;
 * false where it has none (before 6.15). */
bool troupe__child_recall(int pidfd, int *ret_code);

/* 0, or -errno; -ESRCH: it has ended. */
int troupe__child_signal(int pidfd, int signo);

/* A descriptor that is readable for ever, in place of the pidfd of a child that
 * is gone. -errno. */
int troupe__child_dead_fd(void);

/*
 * The life pipe of a daemon: the parent holds the one write end there is; when
 * it closes, by whatever death, the kernel kills the process that has armed the
 * read end.
 */
int troupe__life_pipe(int *ret_read, int *ret_write);

/* In the daemon. 0; -EPIPE: the parent is dead already; -errno. The descriptor
 * stays open. */
int troupe__life_arm(int read_end);

/* Makes descriptor 0 /dev/null. */
void troupe__child_null_stdin(void);

/* Names the process in /proc/PID/comm, cut to 15 bytes. For its first
 * thread. */
void troupe__child_set_comm(const char *name);

/* Threads of this process, 0 when it cannot be told. */
unsigned troupe__child_threads(void);

/* RLIMIT_NPROC, UINT64_MAX: none. */
uint64_t troupe__child_limit(void);

#endif
