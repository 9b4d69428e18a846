# SPDX-License-Identifier: Apache-2.0
# what: lists that the dead left half done are used
# operation: troupe_alloc
# file: src/heap/slab.c
# scenario: troupe_alloc/,troupe_free/,troupe_heap_info_get/recovers a dead peer
# expect: loss
s/class->lock, TROUPE_FOREVER, NULL) == 1)$/class->lock, TROUPE_FOREVER, NULL) == 7)/
