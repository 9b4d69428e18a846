# SPDX-License-Identifier: Apache-2.0
# what: a lock without an owner is taken from the dead
# operation: troupe_lock_acquire troupe_lock_consistent
# file: src/sync/lock.c
# scenario: troupe_lock_acquire/unowned,troupe_lock_consistent/unowned
# expect: corruption
s/^        tag = TROUPE__NOBODY;$/        (void)tag;/
