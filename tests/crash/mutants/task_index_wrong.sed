# SPDX-License-Identifier: Apache-2.0
# what: a task does not know its number
# operation: troupe_task_index
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_index/,/^}/s/task->index;/1;/
