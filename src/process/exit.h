/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_PROCESS_EXIT_H
#define TROUPE_SRC_PROCESS_EXIT_H

#include <stdint.h>

/* Has exit(3) run the exit sequence of this process, from now on: in the root,
 * and in a process that was forked by its own means and then begins to use the
 * library. Done once per process. 0 or -ENOMEM. */
int troupe__exit_register(void);

/* The same in a started child, where the sequence ends with _exit(2): what its
 * parent gave to atexit(3) is not for the child. */
int troupe__exit_register_child(void);

/* As troupe_finalizer_add(), for what is not to be made any more once the exit
 * of this process has begun: -ESHUTDOWN then. */
int troupe__exit_add(void (*call)(void *arg), void *arg, int priority,
                     uint64_t *ret_finalizer);

/* Writes out the buffers of stdout and stderr. */
void troupe__exit_flush(void);

#endif
