# SPDX-License-Identifier: Apache-2.0
# what: a table of parties that a dead one linked is freed with it
# operation: troupe_queue_attach_producer troupe_queue_close
# file: src/ipc/queue_recover.c
# scenario: the table of the parties is full
# expect: duplicate
# points: 0
s/^        troupe__queue_parties_settle(queue, troupe__owner_held(dead->slot));/        (void)0;/
