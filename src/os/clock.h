/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_OS_CLOCK_H
#define TROUPE_SRC_OS_CLOCK_H

#include <stdint.h>

#define TROUPE__MS     INT64_C(1000000)
#define TROUPE__SECOND INT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t troupe__clock_now(void);

#endif
