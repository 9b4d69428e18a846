/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identity of threads and processes as the kernel knows them.
 */
#ifndef TROUPE_SRC_OS_TASK_H
#define TROUPE_SRC_OS_TASK_H

#include "os/memory.h"

#include <stdbool.h>
#include <stdint.h>

int32_t troupe__task_tid(void);
int32_t troupe__task_pid(void);

/* A number for the caller's pid namespace, never 0; 1 when it cannot be told
 * (no /proc). */
uint64_t troupe__task_namespace(void);

/* Start time of a process in clock ticks since boot. 0: no such process, or no
 * /proc of the caller's pid namespace. */
uint64_t troupe__task_start_time(int32_t pid);

/*
 * The present moment in the same unit. A process's pid and a moment at which it
 * was alive name it for good: whoever has the number later was started after
 * that moment. Unlike the start time it costs no look into /proc.
 */
uint64_t troupe__task_moment(void);

/* A pollable descriptor for a process, or -errno. Closed on exec. */
int troupe__task_open(int32_t pid);

/*
 * Ground truth, by system calls: whether the process that had this pid at this
 * moment in the caller's pid namespace has ended (a zombie has). False when in
 * doubt. A moment of 0: not known.
 */
bool troupe__task_ended(int32_t pid, uint64_t moment);

/* Whether a thread or process of the caller's pid namespace has this number at
 * this moment; a zombie has. True when in doubt. */
bool troupe__task_exists(int32_t id);

/* Whether a process has a file mapped. True when in doubt: it is ending, or its
 * mappings may not be looked at. */
bool troupe__task_maps(int32_t pid, const struct troupe__file_id *file);

/* Name of the program this process runs, cut to `size` bytes with the NUL. */
void troupe__task_name(char *name, uint32_t size);

#endif
