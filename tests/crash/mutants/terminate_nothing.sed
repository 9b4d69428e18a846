# SPDX-License-Identifier: Apache-2.0
# what: terminate sends nothing
# operation: troupe_process_terminate
# file: src/process/process.c
# scenario: troupe_process_terminate
# expect: hang
s/return send_signal(p, SIGTERM);/return send_signal(p, 0);/
