# SPDX-License-Identifier: Apache-2.0
# what: strdup leaves out the last byte
# operation: troupe_strdup
# file: src/heap/alloc.c
# scenario: troupe_strdup
# expect: corruption
/^troupe_strdup/,/^}/s/memcpy(copy, text, size);/memcpy(copy, text, size - 1);/
