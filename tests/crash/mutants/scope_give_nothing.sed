# SPDX-License-Identifier: Apache-2.0
# what: a block given to the family dies with the scope
# operation: troupe_scope_give
# file: src/heap/scope.c
# scenario: troupe_scope_give
# expect: loss
s/^    return troupe__block_pass(block, troupe__owner_held(scope),$/    return true || troupe__block_pass(block, troupe__owner_held(scope),/
