# SPDX-License-Identifier: Apache-2.0
# what: terminate ends no task that is under way
# operation: troupe_pool_terminate
# file: src/pool/pool.c
# scenario: troupe_pool_terminate/a worker
# expect: hang
/^terminate(/,/^}/s/if (control->crew\[i\].process == NULL)/if (i != UINT32_MAX)/
