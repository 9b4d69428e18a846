# SPDX-License-Identifier: Apache-2.0
# what: a task has ended before its value is handed over
# operation: troupe_task_return
# file: src/pool/task.c
# scenario: troupe_task_return/a value
# expect: corruption
/^commit_value/,/^}/s/^    slot->value_size = task->value_size;/    troupe__store_seq_cst(\&slot->state, TROUPE__SLOT_WORD(TROUPE__SLOT_VALUE));\n    running = TROUPE__SLOT_WORD(TROUPE__SLOT_VALUE);\n&/
