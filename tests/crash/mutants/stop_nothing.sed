# SPDX-License-Identifier: Apache-2.0
# what: stop asks nobody
# operation: troupe_process_stop
# file: src/process/stop.c
# scenario: troupe_process_stop
# expect: hang
s/^        troupe__member_stop(p->member);/        (void)p;/
