# SPDX-License-Identifier: Apache-2.0
# what: a set that is cleared at once is missed
# operation: troupe_event_wait
# file: src/sync/event.c
# scenario: troupe_event_wait/not set
# expect: hang
s/ || COUNT(word) != count)/ || COUNT(word) == UINT64_MAX - count)/
