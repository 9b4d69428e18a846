# SPDX-License-Identifier: Apache-2.0
# what: items of a dead creator stay
# operation: troupe_imap_free troupe_pool_imap_unordered
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered
# expect: loss
/^troupe__stream_empty/,/^}/s/^    for (i = 0; i < view.window; i++) {/    for (i = view.window; i < view.window; i++) {/
