# SPDX-License-Identifier: Apache-2.0
# what: a set wakes one of many
# operation: troupe_event_set
# file: src/sync/event.c
# scenario: troupe_event_set/three
# expect: hang
s/^        troupe__futex_wake(\(.*\), INT_MAX);$/        troupe__futex_wake(\1, 1);/
