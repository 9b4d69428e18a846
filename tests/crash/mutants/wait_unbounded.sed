# SPDX-License-Identifier: Apache-2.0
# what: a sleep lasts until it is woken
# operation: troupe_event_set
# file: src/heap/wait.c
# scenario: troupe_lock_acquire/held by a peer, another sleeps behind,troupe_event_set/three
# expect: hang
s/^    return wait->round_end < wait->deadline ? wait->round_end : wait->deadline;$/    return wait->deadline;/
