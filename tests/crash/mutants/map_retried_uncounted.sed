# SPDX-License-Identifier: Apache-2.0
# what: a task that is begun anew is not told
# operation: troupe_pool_map
# file: src/pool/map.c
# scenario: troupe_pool_map/the worker dies, one retry
# expect: corruption
s/^        map->retried++;$//
