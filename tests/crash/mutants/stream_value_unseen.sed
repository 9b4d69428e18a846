# SPDX-License-Identifier: Apache-2.0
# what: a value that was handed over counts as lost and stays
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/a value
# expect: loss
# points: 0
s/^    if (slot->block != 0 \&\& troupe__block_owner(troupe__block_at($/    if (false \&\& troupe__block_owner(troupe__block_at(/
