# SPDX-License-Identifier: Apache-2.0
# what: a result comes without its size
# operation: troupe_imap_next
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered/one
# expect: corruption
/^value_give/,/^}/s/^    result->size = (size_t)size;/    result->size = 0;/
