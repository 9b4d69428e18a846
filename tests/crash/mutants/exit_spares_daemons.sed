# SPDX-License-Identifier: Apache-2.0
# what: exit ends no daemon and waits for it
# operation: troupe_exit
# file: src/process/exit.c
# scenario: troupe_exit
# expect: hang
/^children_end/,/^}/s/(void)troupe_process_terminate(p);/(void)0;/
