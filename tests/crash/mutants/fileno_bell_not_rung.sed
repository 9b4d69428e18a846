# SPDX-License-Identifier: Apache-2.0
# what: no bell is rung
# operation: troupe_queue_put
# file: src/sync/doorbell.c
# scenario: troupe_queue_put/empty, an epoll_wait sleeper
# expect: hang
/^troupe__doorbell_ring/,/^}/s/ring_served(ring(troupe__load_acquire(&cell->name)), cell)/ring_served(0, cell)/
