# SPDX-License-Identifier: Apache-2.0
# what: a report names another worker than the lost one
# operation: troupe_pool_map
# file: src/pool/map.c
# scenario: troupe_pool_map/the worker dies, no retries
# expect: corruption
s/^        map->lost_pid = dead->pid;/        map->lost_pid = dead->pid + 1;/
