# SPDX-License-Identifier: Apache-2.0
# what: a join of the parent does not wait
# operation: troupe_process_join
# file: src/process/parent.c
# scenario: the parent's handle
# expect: corruption
/^troupe__parent_join/,/^}/s/^        status = troupe__wait_poll(&wait, &p, count);/        status = 1;/
