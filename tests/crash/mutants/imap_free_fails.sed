# SPDX-License-Identifier: Apache-2.0
# what: a stream cannot be freed
# operation: troupe_imap_free
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered
# expect: corruption
/^troupe_imap_free/,/^}/s/^{$/{ if (imap != NULL) return -EXDEV;/
