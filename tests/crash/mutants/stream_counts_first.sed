# SPDX-License-Identifier: Apache-2.0
# what: a task counts as ended before it has
# operation: troupe_task_return
# file: src/pool/task.c
# scenario: troupe_task_return/a value in a block, the worker
# expect: loss
# points: 0
/^run(/,/^}/s/^    ended = status == 0 ?/    troupe__store_relaxed(\&worker->ended, worker->ended + 1);\n&/
