# SPDX-License-Identifier: Apache-2.0
# what: a dead thread's pages are not found
# operation: troupe_alloc
# file: src/heap/pages.c
# scenario: troupe_alloc/large
# expect: loss
s/^    self->slot->run_page = page + 1;$/    (void)self;/
