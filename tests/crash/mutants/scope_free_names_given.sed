# SPDX-License-Identifier: Apache-2.0
# what: a block that was given away is named as on its way out
# operation: troupe_scope_free
# file: src/heap/alloc.c
# scenario: troupe_scope_free/its list names
# expect: loss
/^place_free/,/^}/s/if (troupe__load_acquire(place->owner) != owner)/if (place->owner == NULL)/
