/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text behind troupe_error_detail().
 */
#ifndef TROUPE_SRC_HEAP_DETAIL_H
#define TROUPE_SRC_HEAP_DETAIL_H

#include <troupe/base.h>

/* Sets the calling thread's detail and returns `status`, so that a failing
 * control call can end with one line. Keeps errno. */
int troupe__detail(int status, const char *format, ...) TROUPE_PRINTF(2, 3);

/* The same for a refusal of the system, `error` being its negated errno, which
 * goes into the text. Returns the word that callers are promised: what has one
 * keeps it, other scarcities are -ENOMEM, and what the system does not have or
 * allow is -ENOTSUP. */
int troupe__detail_refused(int error, const char *format, ...)
    TROUPE_PRINTF(2, 3);

/* Forgets it: control calls begin with this. */
void troupe__detail_clear(void);

#endif
