/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_OS_STDERR_H
#define TROUPE_SRC_OS_STDERR_H

#include <stddef.h>

/* Writes to descriptor 2, at one go where the system does, and raises no
 * SIGPIPE. What cannot be written is lost. Keeps errno. */
void troupe__stderr_write(const char *text, size_t length);

/* The same to a terminal, as far as it takes the text at once: for what is
 * not worth waiting for. */
void troupe__stderr_offer(const char *text, size_t length);

#endif
