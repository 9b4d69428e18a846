# SPDX-License-Identifier: Apache-2.0
# what: a pool counts a worker too many
# operation: troupe_pool_info_get
# file: src/pool/pool.c
# scenario: troupe_pool_close
# expect: corruption
s/^    found.processes = processes;/    found.processes = processes + 1;/
