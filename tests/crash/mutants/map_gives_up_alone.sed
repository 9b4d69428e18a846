# SPDX-License-Identifier: Apache-2.0
# what: workers go on with a task of a map that was given up
# operation: troupe_pool_map
# file: src/pool/map.c
# scenario: troupe_pool_map/two workers
# expect: hang
s/^    troupe__crew_kill(control, self, has_task, map, bulk);/    (void)has_task;/
