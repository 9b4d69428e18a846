# SPDX-License-Identifier: Apache-2.0
# what: a block on its way into a cache is gone
# operation: troupe_free
# file: src/heap/slab.c
# scenario: troupe_free/small, the cache has room
# expect: loss
s/i <= count \&\& i < TROUPE__MAGAZINE/i < count \&\& i < TROUPE__MAGAZINE/
