# SPDX-License-Identifier: Apache-2.0
# what: a pool that is freed stays
# operation: troupe_pool_free
# file: src/pool/pool.c
# scenario: troupe_pool_free
# expect: loss
/^control_end/,/^}/s/^    destroy(control, self);/    (void)self;/
