# SPDX-License-Identifier: Apache-2.0
# what: the item of a result that was given out stays
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/a value
# expect: loss
/^given_release/,/^}/s/^    block_drop(self, slot, &slot->item_block);/    slot->item_block = 0;/
