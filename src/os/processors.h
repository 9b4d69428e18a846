/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_OS_PROCESSORS_H
#define TROUPE_SRC_OS_PROCESSORS_H

#include <stdint.h>

/* How many processors are of use to this process: those it may run on, and no
 * more than the quota of its control groups (version 2) pays for, rounded up. At
 * least 1. */
uint32_t troupe__processors(void);

#endif
