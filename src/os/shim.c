/* SPDX-License-Identifier: Apache-2.0 */
#include "os/fault.h"

#include "base/atomic.h"

#include <stddef.h>

#ifdef TROUPE_SHIM

int (*troupe__shim_fault)(const char *call);
void (*troupe__shim_atomic_hook)(const volatile void *address);
void (*troupe__shim_sleep)(const char *call, int64_t *until);
int64_t troupe__shim_clock_ahead;

void
troupe__shim_atomic(const volatile void *address)
{
    if (troupe__shim_atomic_hook != NULL)
        troupe__shim_atomic_hook(address);
}

#else

/* ISO C wants something in a translation unit. */
typedef int troupe__shim_unused;

#endif
