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

/* Forgets it: control calls begin with this. */
void troupe__detail_clear(void);

#endif
