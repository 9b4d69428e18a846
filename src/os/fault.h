/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection for tests: in the test build (TROUPE_SHIM) the wrappers of
 * system calls first ask troupe__shim_fault for an errno to fail with.
 */
#ifndef TROUPE_SRC_OS_FAULT_H
#define TROUPE_SRC_OS_FAULT_H

#include <stdint.h>

#ifdef TROUPE_SHIM
/* Returns an errno for the named call to fail with, or 0 to let it through;
 * NULL (the default) lets everything through. */
extern int (*troupe__shim_fault)(const char *call);
/* Called before every atomic operation of the library with its address; it may
 * count, or end or stop the process there. NULL (the default): nothing. */
extern void (*troupe__shim_atomic_hook)(const volatile void *address);
/* Called before every sleep on a futex with the time it is to end; it may put
 * another there. NULL (the default): nothing. */
extern void (*troupe__shim_sleep)(const char *call, int64_t *until);
/* Nanoseconds by which the library's clock is ahead of the system's. */
extern int64_t troupe__shim_clock_ahead;
# define TROUPE__FAULT(call) \
  (troupe__shim_fault != NULL ? troupe__shim_fault(call) : 0)
# define TROUPE__SLEEP(call, until) \
  (troupe__shim_sleep != NULL ? troupe__shim_sleep(call, until) : (void)0)
# define TROUPE__CLOCK_AHEAD troupe__shim_clock_ahead
#else
# define TROUPE__FAULT(call)        0
# define TROUPE__SLEEP(call, until) ((void)0)
# define TROUPE__CLOCK_AHEAD        0
#endif

#endif
