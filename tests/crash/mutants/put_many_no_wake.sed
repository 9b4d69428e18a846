# SPDX-License-Identifier: Apache-2.0
# what: a put of many wakes nobody
# operation: troupe_queue_put_many
# file: src/ipc/queue_put.c
# scenario: troupe_queue_put_many/empty, two
# expect: hang
/^troupe_queue_put_many/,/^}/s/troupe__queue_signal(queue, TROUPE_QUEUE_GET, (uint32_t)more);/(void)0;/
