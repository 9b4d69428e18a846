# SPDX-License-Identifier: Apache-2.0
# what: join does not see the end
# operation: troupe_process_join
# file: src/process/process.c
# scenario: troupe_process_join/the child runs
# expect: hang
/^troupe_process_join/,/^}/s/if (has_ended(p)) {/if (!has_ended(p)) {/
