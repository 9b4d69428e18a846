# SPDX-License-Identifier: Apache-2.0
# what: a put wakes nobody
# operation: troupe_queue_commit
# file: src/ipc/queue_put.c
# scenario: troupe_queue_put/empty, a sleeping,troupe_queue_commit/small
# expect: hang
/^put_item/,/^}/s/troupe__queue_signal(queue, TROUPE_QUEUE_GET, 1);/(void)0;/
