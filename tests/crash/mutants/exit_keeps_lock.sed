# SPDX-License-Identifier: Apache-2.0
# what: who exits keeps its locks until its children have ended
# operation: troupe_exit
# file: src/process/exit.c
# scenario: it holds a lock
# expect: hang
/^children_end/,/^}/s/^    holdings_end();/    (void)holdings_end;/
