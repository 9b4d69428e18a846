# SPDX-License-Identifier: Apache-2.0
# what: a failed task has succeeded
# operation: troupe_task_fail
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_fail/,/^}/s/^    task->failed = status;/    task->failed = 0;/
