# SPDX-License-Identifier: Apache-2.0
# what: a lease of the dead does not come back
# operation: troupe_queue_peek
# file: src/ipc/queue_get.c
# scenario: troupe_queue_peek/three
# expect: loss
/^give_back/,/^}/s/^    if (!troupe__cas_seq_cst(&record->ctl, &ctl, ready))$/    ready |= TROUPE__RECORD_DONE; if (!troupe__cas_seq_cst(\&record->ctl, \&ctl, ready))/
