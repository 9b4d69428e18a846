# SPDX-License-Identifier: Apache-2.0
# what: a set lets the sleepers go, and is not there afterwards
# operation: troupe_event_set
# file: src/sync/event.c
# scenario: troupe_event_set/three
# expect: loss
s/((word | SET) & ~SLEEPERS)/(word \& ~SLEEPERS)/
