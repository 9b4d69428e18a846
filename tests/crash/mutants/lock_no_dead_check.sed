# SPDX-License-Identifier: Apache-2.0
# what: a dead holder keeps the lock
# operation: troupe_lock_acquire
# file: src/heap/mutex.c
# scenario: troupe_lock_acquire/held by the dead
# expect: hang
s/else if (troupe__tag_dead(owner)) {/else if (troupe__tag_dead(owner) \&\& owner == 1) {/
