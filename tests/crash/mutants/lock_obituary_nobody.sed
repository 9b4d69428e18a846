# SPDX-License-Identifier: Apache-2.0
# what: the obituary names nobody
# operation: troupe_lock_obituary
# file: src/sync/lock.c
# scenario: troupe_lock_obituary
# expect: corruption
s/^    ret_obituary->pid = found.pid;$/    ret_obituary->pid = 0;/
