# SPDX-License-Identifier: Apache-2.0
# what: a get of many wakes no producer
# operation: troupe_queue_get_many
# file: src/ipc/queue_get.c
# scenario: troupe_queue_get_many/full
# expect: hang
s/troupe__queue_signal(queue, TROUPE_QUEUE_PUT, (uint32_t)more);/(void)0;/
