# SPDX-License-Identifier: Apache-2.0
# what: the value of a slot that is used again stays
# operation: troupe_imap_next
# file: src/pool/imap.c
# scenario: troupe_imap_next/the window
# expect: loss
/^given_release/,/^}/s/^    block_drop(self, slot, &slot->block);/    slot->block = 0;/
