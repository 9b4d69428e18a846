# SPDX-License-Identifier: Apache-2.0
# what: a pool cannot be made
# operation: troupe_pool_new
# file: src/pool/pool.c
# scenario: troupe_pool_new
# expect: corruption
/^troupe_pool_new/,/^}/s/^{$/{ if (ret_pool != NULL) return -EAGAIN;/
