# SPDX-License-Identifier: Apache-2.0
# what: a start that a queue refused leaves the others a producer
# operation: troupe_process_start
# file: src/process/start.c
# scenario: a second queue refuses
# expect: corruption
/^declare/,/^}/s/^            undeclare(p, i);/            ;/
