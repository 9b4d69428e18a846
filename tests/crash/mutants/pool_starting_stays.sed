# SPDX-License-Identifier: Apache-2.0
# what: a pool whose creator died in a start is never freed
# operation: troupe_pool_new
# file: src/pool/pool.c
# scenario: troupe_pool_new
# expect: loss
s/^         troupe__member_has_children(ref)))$/         ref.number != 0))/
