# SPDX-License-Identifier: Apache-2.0
# what: who is woken for too little room keeps the wake-up
# operation: troupe_queue_put
# file: src/ipc/queue_put.c
# scenario: troupe_queue_put/full by bytes, woken
# expect: hang
s/^        pass_on(queue, &head);$/        (void)pass_on;/
