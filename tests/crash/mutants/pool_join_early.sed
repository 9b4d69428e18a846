# SPDX-License-Identifier: Apache-2.0
# what: join does not wait for the workers
# operation: troupe_pool_join
# file: src/pool/pool.c
# scenario: troupe_pool_join
# expect: corruption
/^is_gone/,/^}/s/return troupe__crew_gone(arg);/return arg != NULL;/
