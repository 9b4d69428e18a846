/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scope: blocks of the heap that die with their user. The process that makes
 * the scope owns it; when it frees the scope, exits or is killed, every block
 * still in the scope is freed. A finished result is promoted to the family
 * with troupe_scope_give() and then lives like any block:
 *
 *     troupe_scope_new(&scope);
 *     char *draft = troupe_scope_alloc(scope, 4096);
 *     ...
 *     troupe_scope_give(scope, draft);   (now it survives this process)
 *     troupe_scope_free(scope);
 *
 * One thread at a time uses a scope.
 */
#ifndef TROUPE_SCOPE_H
#define TROUPE_SCOPE_H

#include <troupe/base.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_scope troupe_scope;

/* Makes an empty scope owned by the calling process. 0, -EINVAL (NULL),
 * -ENOMEM, -EUSERS, -EMFILE, -ENFILE, -ENOTSUP (as troupe_alloc). Killed
 * inside: nothing is left. Thread-safe. */
TROUPE_API TROUPE_MUST_CHECK int troupe_scope_new(troupe_scope **ret_scope);

/* Frees the scope and every block in it. NULL is fine. -EINVAL for what is no
 * scope, -EXDEV for one that another process owns: nothing happens then.
 * Killed inside: the rest is freed too. */
TROUPE_API int troupe_scope_free(troupe_scope *scope);

/* A block as from troupe_alloc(), in the scope. The owner of the scope may free
 * it early with troupe_free(); another process gets -EINVAL there, until it was
 * given. NULL with errno as troupe_alloc, EINVAL (no scope) or EXDEV (not of
 * this process). */
TROUPE_API TROUPE_MUST_CHECK void *troupe_scope_alloc(troupe_scope *scope,
                                                      size_t size);

/* Takes a block out of the scope: it belongs to the family from here on. 0;
 * -EINVAL when it is not a block of the scope. Killed inside: the block is
 * still the scope's (and dies with it) or already the family's. */
TROUPE_API int troupe_scope_give(troupe_scope *scope, void *block);

TROUPE_END_DECLS

#endif
