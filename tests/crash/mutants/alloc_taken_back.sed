# SPDX-License-Identifier: Apache-2.0
# what: what the dead had been handed last is taken back
# operation: troupe_alloc troupe_calloc troupe_strdup
# file: src/heap/slab.c
# scenario: troupe_alloc/small,troupe_calloc/small,troupe_strdup/small
# expect: loss
/^troupe__slab_recover/,/^}/s/if (i + 1 == count)$/if (i + 1 >= count)/
