# SPDX-License-Identifier: Apache-2.0
# what: a child that has ended cannot be closed
# operation: troupe_process_close
# file: src/process/process.c
# scenario: troupe_process_close
# expect: corruption
/^troupe_process_close/,/^}/s/^    if (status == 0 \&\& !p->closed) {/    if (status == 0) status = -EBUSY; if (status == 0 \&\& !p->closed) {/
