# SPDX-License-Identifier: Apache-2.0
# what: blocks cached by the dead are gone
# operation: troupe_alloc
# file: src/heap/slab.c
# scenario: troupe_alloc/small, nothing is cached
# expect: loss
s/^        for (i = 0; i <= count \&\& i < TROUPE__MAGAZINE; i++) {$/        for (i = 0; i < 0; i++) {/
