# SPDX-License-Identifier: Apache-2.0
# what: a pool cannot be freed
# operation: troupe_pool_free
# file: src/pool/pool.c
# scenario: troupe_pool_close,troupe_pool_terminate
# expect: corruption
/^troupe_pool_free/,/^}/s/^{$/{ if (pool != NULL) return -EXDEV;/
