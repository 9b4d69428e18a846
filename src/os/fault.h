/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection for tests: in the test build (TROUPE_SHIM) every wrapper of
 * a system call first asks troupe__shim_fault for an errno to fail with.
 */
#ifndef TROUPE_SRC_OS_FAULT_H
#define TROUPE_SRC_OS_FAULT_H

#ifdef TROUPE_SHIM
/* Returns an errno for the named call to fail with, or 0 to let it through;
 * NULL (the default) lets everything through. */
extern int (*troupe__shim_fault)(const char *call);
/* Called before every atomic operation of the library with its address; it may
 * count, or end or stop the process there. NULL (the default): nothing. */
extern void (*troupe__shim_atomic_hook)(const volatile void *address);
# define TROUPE__FAULT(call) \
  (troupe__shim_fault != NULL ? troupe__shim_fault(call) : 0)
#else
# define TROUPE__FAULT(call) 0
#endif

#endif
