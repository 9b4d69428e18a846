# SPDX-License-Identifier: Apache-2.0
# what: an exit waits for no child
# operation: troupe_exit
# file: src/process/exit.c
# scenario: a child runs, sleeps
# expect: corruption
/^children_end/,/^}/s/^    if (!has_children())/    if (has_children())/
