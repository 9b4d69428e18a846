# SPDX-License-Identifier: Apache-2.0
# what: a map says it is done and has done nothing
# operation: troupe_pool_map
# file: src/pool/map.c
# scenario: troupe_pool_map
# expect: corruption
/^troupe_pool_map/,/^}/s/^{$/{ if (count != 0) return 0;/
