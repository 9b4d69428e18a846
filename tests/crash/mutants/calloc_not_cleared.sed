# SPDX-License-Identifier: Apache-2.0
# what: calloc gives what was in the memory
# operation: troupe_calloc
# file: src/heap/alloc.c
# scenario: troupe_calloc
# expect: corruption
s/^    memset(block, 0, total);$/    (void)total;/
