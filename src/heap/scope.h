/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_SRC_HEAP_SCOPE_H
#define TROUPE_SRC_HEAP_SCOPE_H

#include <stdint.h>

struct troupe_scope;

/* The scope that an owner word names, if it is a live one of the calling
 * process, else NULL. */
struct troupe_scope *troupe__scope_of(uint32_t owner);

/* Frees the scopes of a dead member. */
void troupe__scopes_recover(uint32_t member, uint32_t generation);

#endif
