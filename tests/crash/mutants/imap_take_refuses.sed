# SPDX-License-Identifier: Apache-2.0
# what: a result cannot be taken
# operation: troupe_imap_take
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered
# expect: corruption
/^troupe_imap_take/,/^}/s/if (imap->given_slot == NO_SLOT || imap->kept)/if (imap->given_slot != NO_SLOT || imap->kept)/
