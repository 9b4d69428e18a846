/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_HEAP_OPTIONS_H
#define TROUPE_SRC_HEAP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Copies a caller's option struct (its first field is its size, NULL means all
 * defaults) into the library's of `size` bytes: what is missing becomes zero.
 * 0; -EINVAL: too short to hold its own size, or absurdly long; -E2BIG: longer
 * than ours and not zero there. Sets the error detail.
 */
int troupe__options_copy(void *options, size_t size, const void *given);

/*
 * The other way round: a struct that a call fills in, whose first field is its
 * size, set by the caller. An older program's is shorter and gets what it has
 * room for; what a newer one's has beyond the library's `size` bytes is zeroed.
 * False: no size that such a struct can have.
 */
bool troupe__info_valid(const void *given);
void troupe__info_copy(void *given, const void *info, size_t size);

/* Options of later versions may stand where this one reserves room: -E2BIG
 * unless it is zero. Sets the error detail. */
int troupe__options_unknown(const uint8_t *reserved, size_t size);

#endif
