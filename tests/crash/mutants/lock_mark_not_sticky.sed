# SPDX-License-Identifier: Apache-2.0
# what: only the first one is told of a dead holder
# operation: troupe_lock_acquire
# file: src/sync/lock.c
# scenario: troupe_lock_acquire/free
# expect: corruption
s/^    return TROUPE_OWNER_DIED;$/    troupe__store_relaxed(\&lock->mark_, CLEAN); return TROUPE_OWNER_DIED;/
