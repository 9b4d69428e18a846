# SPDX-License-Identifier: Apache-2.0
# what: nobody is told of the leases before
# operation: troupe_queue_attempts
# file: src/ipc/queue_get.c
# scenario: troupe_queue_attempts
# expect: corruption
/^troupe_queue_attempts/,/^}/s/return (unsigned)((troupe__load/return 0 * (unsigned)((troupe__load/
