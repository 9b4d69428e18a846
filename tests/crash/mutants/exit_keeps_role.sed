# SPDX-License-Identifier: Apache-2.0
# what: who exits stays a producer until its children have ended
# operation: troupe_exit
# file: src/process/exit.c
# scenario: the last producer, a consumer sleeps, then
# expect: hang
/^children_end/,/^}/s/^    ended = roles_end();/    ended = true;/
