# SPDX-License-Identifier: Apache-2.0
# what: a lost task names another signal
# operation: troupe_task_return
# file: src/pool/imap.c
# scenario: troupe_task_return/the worker dies
# expect: corruption
s/^            slot->signal = troupe__code_signal(dead->code);/            slot->signal = troupe__code_signal(dead->code) + 1;/
