# SPDX-License-Identifier: Apache-2.0
# what: the blocks of a freed scope stay
# operation: troupe_scope_free
# file: src/heap/scope.c
# scenario: troupe_scope_free
# expect: loss
/^entries_free/,/^}/s/^        (void)troupe__block_free(.*$/        (void)owner;/
