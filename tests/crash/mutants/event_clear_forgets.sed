# SPDX-License-Identifier: Apache-2.0
# what: clear forgets that somebody sleeps
# operation: troupe_event_clear
# file: src/sync/event.c
# scenario: troupe_event_clear/not set
# expect: hang
s/~SET);/~(SET | SLEEPERS));/
