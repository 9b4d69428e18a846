# SPDX-License-Identifier: Apache-2.0
# what: a task has ended before it has run
# operation: troupe_pool_map
# file: src/pool/bulk.c
# scenario: troupe_pool_map/the worker
# expect: corruption
s/^    status = function(item, result,/    (void)troupe__cas_release(state, \&pending, end); pending = end;\n&/
