# SPDX-License-Identifier: Apache-2.0
# what: a release wakes no producer
# operation: troupe_queue_release
# file: src/ipc/queue_get.c
# scenario: troupe_queue_release/full, a sleeping
# expect: hang
/^troupe_queue_release/,/^}/s/troupe__queue_signal(queue, TROUPE_QUEUE_PUT, 1);/(void)0;/
