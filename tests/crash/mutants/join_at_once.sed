# SPDX-License-Identifier: Apache-2.0
# what: a join does not wait
# operation: troupe_process_join
# file: src/process/process.c
# scenario: troupe_process_join/the child runs
# expect: corruption
/^troupe_process_join/,/^}/s/^        status = troupe__wait_poll(&wait, &fd, 1);/        break;/
