# SPDX-License-Identifier: Apache-2.0
# what: a value is not handed over
# operation: troupe_task_return
# file: src/pool/task.c
# scenario: troupe_pool_imap_unordered
# expect: corruption
/^troupe_task_return/,/^}/s/^            memmove(task->slot->value_inline, data, size);/            (void)data;/
