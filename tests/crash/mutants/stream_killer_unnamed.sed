# SPDX-License-Identifier: Apache-2.0
# what: a lost task does not name its worker
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
s/^        slot->pid = dead->pid;/        slot->pid = 0;/
