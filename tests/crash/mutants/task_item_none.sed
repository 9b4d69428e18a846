# SPDX-License-Identifier: Apache-2.0
# what: a task has no item
# operation: troupe_task_item
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_item/,/^}/s/task->item;/NULL;/
