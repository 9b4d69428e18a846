# SPDX-License-Identifier: Apache-2.0
# what: a stream cannot be opened
# operation: troupe_pool_imap_unordered
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered
# expect: corruption
/^troupe_pool_imap_unordered/,/^}/s/^{$/{ if (ret_imap != NULL) return -EPROTO;/
