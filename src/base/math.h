/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic that saturates or rounds, without overflow.
 */
#ifndef TROUPE_SRC_BASE_MATH_H
#define TROUPE_SRC_BASE_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* `alignment` is a power of two and value + alignment does not overflow. */
static inline uint64_t
troupe__round_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Sum of two times, INT64_MAX when it lies beyond. Neither is negative. */
static inline int64_t
troupe__time_add(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Position of the highest set bit; `value` is not 0. */
static inline unsigned
troupe__log2(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

#endif
