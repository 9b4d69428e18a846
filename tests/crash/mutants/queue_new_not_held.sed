# SPDX-License-Identifier: Apache-2.0
# what: a queue that its dead maker had not entered yet stays
# operation: troupe_queue_new
# file: src/heap/directory.c
# scenario: troupe_queue_new
# expect: loss
/^troupe__object_new/,/^}/s/troupe__block_hold(self, size)/troupe__block_new(self, size, troupe__owner_held(self->slot), NULL)/
