# SPDX-License-Identifier: Apache-2.0
# what: what a dead getter left half done stays so
# operation: troupe_queue_get
# file: src/ipc/queue_get.c
# scenario: troupe_queue_get/three large
# expect: loss
/^repair(/,/^}/s/^    if (pending != 0) {$/    if (pending == UINT32_MAX) {/
