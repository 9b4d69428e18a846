# SPDX-License-Identifier: Apache-2.0
# what: kill sends nothing
# operation: troupe_process_kill
# file: src/process/process.c
# scenario: troupe_process_kill
# expect: hang
s/return send_signal(p, SIGKILL);/return send_signal(p, 0);/
