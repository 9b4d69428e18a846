/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_PROCESS_CHILDREN_H
#define TROUPE_SRC_PROCESS_CHILDREN_H

#include "process.h"

/* Reaps some of the children that have ended. */
void troupe__children_reap(void);

#endif
