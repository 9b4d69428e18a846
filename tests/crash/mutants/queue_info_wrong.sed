# SPDX-License-Identifier: Apache-2.0
# what: a queue shows an item that is not there
# operation: troupe_queue_info_get
# file: src/ipc/queue.c
# scenario: troupe_queue_info_get
# expect: corruption
s/^    found.items = troupe__place_between(head, tail) - done;/    found.items = troupe__place_between(head, tail) + 1u;/
