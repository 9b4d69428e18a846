# SPDX-License-Identifier: Apache-2.0
# what: a scope belongs to nobody
# operation: troupe_scope_new
# file: src/heap/scope.c
# scenario: troupe_scope_new
# expect: corruption
s/^    scope->generation = self->slot->member_generation;$/    scope->generation = ~self->slot->member_generation;/
