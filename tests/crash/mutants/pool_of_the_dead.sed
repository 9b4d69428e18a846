# SPDX-License-Identifier: Apache-2.0
# what: the pool of a dead creator is never freed
# operation: troupe_pool_map
# file: src/pool/pool.c
# scenario: troupe_pool_map/six
# expect: loss
s/^    if (!all_dead(pool))$/    if (pool != NULL \&\& all_dead != NULL)/
