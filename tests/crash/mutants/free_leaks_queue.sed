# SPDX-License-Identifier: Apache-2.0
# what: a freed queue keeps its memory
# operation: troupe_queue_free
# file: src/ipc/queue.c
# scenario: troupe_queue_free
# expect: loss
/^troupe_queue_free/,/^}/s/^    troupe__object_free(self, queue);$/    (void)self;/
