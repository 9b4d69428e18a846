# SPDX-License-Identifier: Apache-2.0
# what: the dead are still started
# operation: troupe_process_state
# file: src/process/process.c
# scenario: troupe_process_state
# expect: corruption
s/return ended ? TROUPE_PROCESS_STOPPED : TROUPE_PROCESS_STARTED;/return TROUPE_PROCESS_STARTED;/
