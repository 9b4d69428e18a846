# SPDX-License-Identifier: Apache-2.0
# what: a pool lists a worker too many
# operation: troupe_pool_workers
# file: src/pool/pool.c
# scenario: troupe_pool_close
# expect: corruption
s/^        \*ret_count = processes;/        *ret_count = processes + 1;/
