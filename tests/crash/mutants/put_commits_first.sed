# SPDX-License-Identifier: Apache-2.0
# what: an item is visible before its bytes are there
# operation: troupe_queue_put
# file: src/ipc/queue_put.c
# scenario: troupe_queue_put/empty
# expect: corruption
/^write_record/,/^}/s/^    struct troupe__record \*record = troupe__queue_record(queue, at);$/    struct troupe__record *record = troupe__queue_record(queue, at); store_tail(queue, troupe__place_make(at + item->cells == troupe__queue_ring_size(queue) ? 0 : at + item->cells, troupe__place_number(tail) + 1), false);/;s/^static inline uint64_t$/static inline void store_tail(troupe_queue *queue, uint64_t tail, bool single);&/
