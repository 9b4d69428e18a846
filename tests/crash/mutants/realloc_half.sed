# SPDX-License-Identifier: Apache-2.0
# what: realloc copies half of the block
# operation: troupe_realloc
# file: src/heap/alloc.c
# scenario: troupe_realloc
# expect: corruption
/^troupe_realloc/,/^}/s|memcpy(copy, block, \(.*\));|memcpy(copy, block, (\1) / 2);|
