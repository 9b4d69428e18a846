/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_OS_PROCESSORS_H
#define TROUPE_SRC_OS_PROCESSORS_H

#include <stdint.h>

/* How many processors are of use to this process: those it may run on, and no
 * more than the quota of its control groups (version 2) pays for, rounded up.
 * At least 1. */
uint32_t troupe__processors(void);

/* What the groups from this one ("/a/b") up pay for, the least of them; `tree`
 * is where their file system is mounted. UINT32_MAX: no quota. */
uint32_t troupe__processors_quota(const char *tree, const char *group);

#endif
