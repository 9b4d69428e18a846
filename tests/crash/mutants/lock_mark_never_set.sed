# SPDX-License-Identifier: Apache-2.0
# what: nobody is told of a dead holder
# operation: troupe_lock_acquire
# file: src/sync/lock.c
# scenario: troupe_lock_acquire/free
# expect: corruption
s/^    if (status == 1) {$/    if (status == 1 \&\& deadline == 1) {/
