# SPDX-License-Identifier: Apache-2.0
# what: an item has no size
# operation: troupe_task_size
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_size/,/^}/s/task->item_size;/0;/
