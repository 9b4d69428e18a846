# SPDX-License-Identifier: Apache-2.0
# what: a task does not know its attempt
# operation: troupe_task_attempt
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_attempt/,/^}/s/task->attempt;/0;/
