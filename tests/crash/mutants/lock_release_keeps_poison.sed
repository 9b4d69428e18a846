# SPDX-License-Identifier: Apache-2.0
# what: a lock that was given up goes on
# operation: troupe_lock_release
# file: src/sync/lock.c
# scenario: troupe_lock_release/marked by a death, given up
# expect: corruption
s/(void)troupe__cas_relaxed(&lock->mark_, &mark, GIVEN_UP);/(void)mark;/
