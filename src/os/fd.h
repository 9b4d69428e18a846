/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_OS_FD_H
#define TROUPE_SRC_OS_FD_H

#include <stdbool.h>

/* Whether the descriptor is open. */
bool troupe__fd_is_open(int fd);

/* Moves a descriptor above the standard streams, which children replace and
 * programs write to: a host may have closed its own. Returns the new one or
 * -errno, and `fd` is closed then; a negative `fd` is returned as it is. */
int troupe__fd_above_streams(int fd);

/* close() that is no cancellation point, and leaves errno alone. */
void troupe__fd_close(int fd);

#endif
