# SPDX-License-Identifier: Apache-2.0
# what: a pool that is closed is open
# operation: troupe_pool_close
# file: src/pool/pool.c
# scenario: troupe_pool_close
# expect: corruption
/^troupe_pool_close/,/^}/s/^    state_raise(control, TROUPE__POOL_CLOSED);/    (void)control;/
