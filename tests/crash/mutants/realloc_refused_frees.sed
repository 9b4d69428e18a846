# SPDX-License-Identifier: Apache-2.0
# what: a block that cannot move is freed
# operation: troupe_realloc
# file: src/heap/alloc.c
# scenario: troupe_realloc/no memory is left
# expect: corruption
/^troupe_realloc/,/^}/s/^    if (copy == NULL)$/    if (copy == NULL \&\& troupe__block_free(self, block, owner))/
