# SPDX-License-Identifier: Apache-2.0
# what: a block is in the scope and not in its list
# operation: troupe_scope_alloc
# file: src/heap/scope.c
# scenario: troupe_scope_alloc
# expect: loss
/^troupe_scope_alloc/,/^}/s/troupe__owner_held(scope), entry);/troupe__owner_held(scope), NULL);/
