/* SPDX-License-Identifier: Apache-2.0 */
/* Exported functions that write no shared memory at all. */
#include "common.h"

#include <troupe/error.h>
#include <troupe/version.h>

#include <errno.h>

static void
setup(void)
{
    (void)family_memory(16);
}

#define PLAIN(symbol, why, ...)                                       \
 static void call_##symbol(void)                                      \
 {                                                                    \
  (void)symbol(__VA_ARGS__);                                          \
 }                                                                    \
 EXEMPT(exempt_##symbol) = {#symbol, (void (*)(void))(symbol), setup, \
                            call_##symbol, why}

PLAIN(troupe_after, "reads a clock", 1.5);
PLAIN(troupe_after_ns, "reads a clock", 1000);
PLAIN(troupe_clock, "reads a clock");
PLAIN(troupe_strerror, "looks a text up", -EINVAL);
PLAIN(troupe_error_name, "looks a text up", -EINVAL);
PLAIN(troupe_error_detail, "memory of the calling thread");
PLAIN(troupe_version, "a constant");
