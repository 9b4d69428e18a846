# SPDX-License-Identifier: Apache-2.0
# what: an ended event leaves the table of its pollers
# operation: troupe_event_fileno
# file: src/sync/event.c
# scenario: troupe_event_fileno
# expect: loss
s/troupe__doorbell_free(self, &event->pollers_);/(void)self;/
