# SPDX-License-Identifier: Apache-2.0
# what: who is refused a lock that was given up wakes nobody
# operation: troupe_lock_acquire
# file: src/sync/lock.c
# scenario: two sleep before
# expect: hang
/^marked/,/^}/s/(void)troupe__word_release(&lock->word_);/troupe__store_release(\&lock->word_, UINT64_C(0));/
