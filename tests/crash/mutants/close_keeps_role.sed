# SPDX-License-Identifier: Apache-2.0
# what: who closes stays a producer
# operation: troupe_queue_close
# file: src/ipc/queue.c
# scenario: troupe_queue_close/the only producer, a sleeping
# expect: hang
/^troupe_queue_close/,/^}/s/^    status = troupe__queue_party_close(self, queue);$/    status = 0;/
