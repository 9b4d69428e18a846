# SPDX-License-Identifier: Apache-2.0
# what: a closed pool cannot be joined
# operation: troupe_pool_join
# file: src/pool/pool.c
# scenario: troupe_pool_close
# expect: corruption
/^troupe_pool_join/,/^}/s/== TROUPE__POOL_OPEN)/!= TROUPE__POOL_OPEN)/
