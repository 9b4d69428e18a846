# SPDX-License-Identifier: Apache-2.0
# what: the scopes of the dead stay
# operation: troupe_scope_alloc
# file: src/heap/scope.c
# scenario: troupe_scope_alloc
# expect: loss
/^recover_one/,/^}/s/scope_end(dead->self, scope);/(void)dead->self;/
