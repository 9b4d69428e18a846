# SPDX-License-Identifier: Apache-2.0
# what: a committed reservation stays in the hands of the producer
# operation: troupe_queue_commit
# file: src/ipc/queue_put.c
# scenario: troupe_queue_commit/large
# expect: corruption
s/troupe__store_relaxed(&block->block, troupe__block_record(item->block));/troupe__store_relaxed(\&block->block, troupe__block_record(item->block) + 1);/
