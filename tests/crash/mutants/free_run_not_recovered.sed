# SPDX-License-Identifier: Apache-2.0
# what: pages on their way back are gone
# operation: troupe_free
# file: src/heap/alloc.c
# scenario: troupe_free/large
# expect: loss
s/^    if (page != 0 \&\&$/    if (page == UINT32_MAX \&\&/
