/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handle of the process that started this one: what differs from a child's.
 */
#ifndef TROUPE_SRC_PROCESS_PARENT_H
#define TROUPE_SRC_PROCESS_PARENT_H

#include <troupe/process.h>

bool troupe__parent_is_alive(troupe_process *parent);
int troupe__parent_sentinel(troupe_process *parent, int *ret_fd);
int troupe__parent_join(troupe_process *parent, troupe_deadline deadline);

#endif
