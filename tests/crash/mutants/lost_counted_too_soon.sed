# SPDX-License-Identifier: Apache-2.0
# what: an item counts as lost that the dead one had not taken
# operation: troupe_queue_get
# file: src/ipc/queue_recover.c
# scenario: troupe_queue_get/three items
# expect: duplicate
s/if (troupe__queue_taken(queue, dead->slot->queue_head) &&/if (queue != NULL \&\&/
s/^    if (troupe__queue_get_visit(dead->self, queue, dead->tag))$/    if (0)/
