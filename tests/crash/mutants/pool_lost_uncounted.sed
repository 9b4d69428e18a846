# SPDX-License-Identifier: Apache-2.0
# what: a pool does not count its dead workers
# operation: troupe_task_return
# file: src/pool/crew.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
s/pool->workers_lost + 1);/pool->workers_lost);/
