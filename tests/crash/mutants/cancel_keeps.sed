# SPDX-License-Identifier: Apache-2.0
# what: a cancelled reservation keeps its memory
# operation: troupe_queue_cancel
# file: src/ipc/queue_put.c
# scenario: troupe_queue_cancel
# expect: loss
/^troupe_queue_cancel/,/^}/s/^    payload_free(self, payload);$/    (void)troupe__block_pass(payload, troupe__owner_held(self->slot), troupe__owner_given(self));/
