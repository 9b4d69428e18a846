# SPDX-License-Identifier: Apache-2.0
# what: a task that a dead worker has claimed and not begun is offered to nobody
# operation: troupe_pool_imap_unordered
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered/the worker
# expect: hang
# points: 0
/^troupe__stream_settle/,/^}/s/^        bit_set(view->ready, i);/        continue;/
