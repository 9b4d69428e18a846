# SPDX-License-Identifier: Apache-2.0
# what: memory of a dead attempt stays
# operation: troupe_task_alloc
# file: src/pool/task.c
# scenario: troupe_task_return/the worker dies
# expect: loss
/^troupe_task_alloc/,/^}/s/troupe_scope_alloc(task->scope, size);/troupe_alloc(size);/
/^troupe_task_return/,/^}/s/block = troupe_task_alloc(task, size);/block = troupe_scope_alloc(scope_get(task), size);/
