# SPDX-License-Identifier: Apache-2.0
# what: a pool does not count what a death interrupted
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
/^next_state/,/^}/s/control->pool->tasks_interrupted + 1);/control->pool->tasks_interrupted);/
