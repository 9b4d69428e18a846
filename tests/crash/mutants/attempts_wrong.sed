# SPDX-License-Identifier: Apache-2.0
# what: attempts are counted from 1
# operation: troupe_queue_attempts
# file: src/ipc/queue_get.c
# scenario: troupe_queue_attempts
# expect: corruption
/^troupe_queue_attempts/,/^}/s/TROUPE__RECORD_ATTEMPT);/TROUPE__RECORD_ATTEMPT) + 1;/
