# SPDX-License-Identifier: Apache-2.0
# what: an item is visible before its bytes are there
# operation: troupe_queue_put
# file: src/ipc/queue_put.c
# scenario: troupe_queue_put/empty
# expect: corruption
/^write_record/,/^}/s/^    uint32_t next = at + item->cells;$/&\n\n    troupe__store_release(\&queue->put.tail, troupe__place_make(next == queue->cells ? 0 : next, troupe__place_number(tail) + 1));/
