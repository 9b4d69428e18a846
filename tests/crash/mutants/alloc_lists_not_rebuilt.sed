# SPDX-License-Identifier: Apache-2.0
# what: lists that the dead left half done are used
# operation: troupe_alloc
# file: src/heap/slab.c
# scenario: troupe_alloc/small, nothing cached, a second
# expect: loss
# points: 0
s/class->lock, TROUPE_FOREVER, NULL) == 1)$/class->lock, TROUPE_FOREVER, NULL) == 7)/
