# SPDX-License-Identifier: Apache-2.0
# what: a child that was killed seems to have returned
# operation: troupe_process_kill troupe_process_terminate
# file: src/os/child.c
# scenario: troupe_process_kill,troupe_process_terminate
# expect: corruption
/^troupe__child_reap/,/^}/s/-info.si_status;/info.si_status;/
