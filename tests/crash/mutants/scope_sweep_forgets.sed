# SPDX-License-Identifier: Apache-2.0
# what: a sweep of the list forgets the blocks that count
# operation: troupe_scope_alloc
# file: src/heap/scope.c
# scenario: troupe_scope_alloc/the list is swept
# expect: loss
# points: 12
s/is_free(entry, owner) \&\& set_add/is_free(entry, owner) \&\& !set_add/
