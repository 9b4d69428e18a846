# SPDX-License-Identifier: Apache-2.0
# what: nobody looks after a setter that has not joined
# operation: troupe_event_set
# file: src/sync/doorbell.c
# scenario: troupe_event_set/an epoll_wait sleeper, the setter
# expect: hang
s/^        polling.strangers = true;$/        tick_set(false);/
s/^        tick_set(true);$/        (void)strangers;/
