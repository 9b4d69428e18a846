# SPDX-License-Identifier: Apache-2.0
# what: a scope's blocks stay until its owner ends
# operation: troupe_scope_free
# file: src/heap/scope.c
# scenario: troupe_scope_free/one block,troupe_scope_free/45
# expect: corruption
/^troupe_scope_free/,/^}/s/^    scope_end(self, scope);$/    (void)scope_end;/
