# SPDX-License-Identifier: Apache-2.0
# what: the last retry is not made
# operation: troupe_pool_map
# file: src/pool/map.c
# scenario: troupe_pool_map/the worker dies, one retry
# expect: loss
s/times != 0 \&\& times <= map->retries/times != 0 \&\& times < map->retries/
