# SPDX-License-Identifier: Apache-2.0
# what: a get takes the item and leaves it there
# operation: troupe_queue_get
# file: src/ipc/queue_get.c
# scenario: troupe_queue_get/three items
# expect: duplicate
/^take(/,/^}/s/^        store_head(queue, found->next);$/        (void)found->next;/
