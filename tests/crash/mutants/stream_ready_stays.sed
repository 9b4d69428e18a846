# SPDX-License-Identifier: Apache-2.0
# what: what has not begun is not cancelled with its pool
# operation: troupe_imap_next
# file: src/pool/imap.c
# scenario: troupe_imap_next/the pool is terminated
# expect: hang
/^has_news/,/^}/s/^        cancel_ready(imap);/        (void)cancel_ready;/
