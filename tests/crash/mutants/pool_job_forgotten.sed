# SPDX-License-Identifier: Apache-2.0
# what: who clears up forgets a job before it is freed
# operation: troupe_pool_free
# file: src/pool/pool.c
# scenario: troupe_pool_free/none; creator
# expect: loss
# points: 0
/^job_free/,/^}/s/^    struct troupe__job \*job = .*/&\n\n    troupe__store_release(\&pool->records[place], 0u);/
