# SPDX-License-Identifier: Apache-2.0
# what: a queue dies with its maker
# operation: troupe_queue_new
# file: src/ipc/queue.c
# scenario: troupe_queue_new
# expect: corruption
s/^    status = troupe__object_publish(self, queue);/    status = 0;/
