# SPDX-License-Identifier: Apache-2.0
# what: a thread that ends keeps what it had cached
# operation: troupe_alloc troupe_lock_acquire
# file: src/heap/slot.c
# scenario: thread exit
# expect: loss
/^troupe__slot_leave/,/^}/s/^    troupe__slot_settle(slot, thread->index, thread->tag);/    (void)slot;/
