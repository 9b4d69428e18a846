# SPDX-License-Identifier: Apache-2.0
# what: the pages of a new slab are nobody's before they are a slab
# operation: troupe_alloc
# file: src/heap/slab.c
# scenario: troupe_alloc/small, every slab
# expect: loss
/^slab_new/,/^}/s/^    memset(slab_owners(page), 0, .*$/    self->slot->run_page = 0;\n&/
