# SPDX-License-Identifier: Apache-2.0
# what: the dead are alive
# operation: troupe_process_is_alive
# file: src/process/process.c
# scenario: troupe_process_is_alive
# expect: corruption
s/return look(p, &ended) == 0 \&\& !ended;/return look(p, \&ended) == 0;/
