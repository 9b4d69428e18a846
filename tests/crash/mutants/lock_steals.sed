# SPDX-License-Identifier: Apache-2.0
# what: the lock is taken from a living holder
# operation: troupe_lock_acquire
# file: src/heap/mutex.c
# scenario: troupe_lock_acquire/held by a peer
# expect: corruption
s/else if (troupe__tag_dead(owner)) {/else {/
