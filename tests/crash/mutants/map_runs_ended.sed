# SPDX-License-Identifier: Apache-2.0
# what: what has ended is run once more in a second pass
# operation: troupe_pool_map
# file: src/pool/bulk.c
# scenario: troupe_pool_map/the worker dies, no retries
# expect: duplicate
# points: 0
s/^    if (TROUPE__UNLIKELY(troupe__load_relaxed(state) != TROUPE__TASK_PENDING))/    if (state == NULL)/
