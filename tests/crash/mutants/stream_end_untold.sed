# SPDX-License-Identifier: Apache-2.0
# what: the end of a dead worker's task is told to nobody
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/a value
# expect: hang
s/^            bit_set(view->done, i);$/            continue;/
