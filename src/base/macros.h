/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_BASE_MACROS_H
#define TROUPE_SRC_BASE_MACROS_H

#include <stddef.h>

#define TROUPE__LIKELY(x)    __builtin_expect(!!(x), 1)
#define TROUPE__UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define TROUPE__INLINE       __attribute__((always_inline)) inline
#define TROUPE__COLD         __attribute__((cold, noinline))
#define TROUPE__COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
