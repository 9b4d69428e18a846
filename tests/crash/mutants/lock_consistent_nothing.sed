# SPDX-License-Identifier: Apache-2.0
# what: the mark stays after consistent
# operation: troupe_lock_consistent
# file: src/sync/lock.c
# scenario: troupe_lock_consistent
# expect: corruption
s/^    return troupe__cas_relaxed(&lock->mark_, &mark, CLEAN) ? 0 : -EINVAL;$/    return mark == INCONSISTENT ? 0 : -EINVAL;/
