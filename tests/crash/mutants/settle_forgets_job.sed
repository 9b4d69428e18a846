# SPDX-License-Identifier: Apache-2.0
# what: what a dead worker had is told to no map
# operation: troupe_pool_map
# file: src/pool/crew.c
# scenario: troupe_pool_map/the worker dies in a task
# expect: hang
s/^        troupe__map_settle(control, map, &dead);/        (void)map;/
