# SPDX-License-Identifier: Apache-2.0
# what: every task is cancelled
# operation: troupe_task_cancelled
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^troupe_task_cancelled/,/^}/s/return task == NULL ||/return true ||/
