# SPDX-License-Identifier: Apache-2.0
# what: a pool cannot be terminated
# operation: troupe_pool_terminate
# file: src/pool/pool.c
# scenario: troupe_pool_terminate
# expect: corruption
/^troupe_pool_terminate/,/^}/s/^{$/{ if (pool != NULL) return -EXDEV;/
