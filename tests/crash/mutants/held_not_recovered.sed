# SPDX-License-Identifier: Apache-2.0
# what: what the dead held stays
# operation: troupe_queue_reserve
# file: src/heap/alloc.c
# scenario: troupe_queue_reserve
# expect: loss
/^troupe__alloc_recover/,/^}/s/if (troupe__block_owner(block) == mine) {/if (troupe__block_owner(block) == ~mine) {/
