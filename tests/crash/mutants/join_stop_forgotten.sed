# SPDX-License-Identifier: Apache-2.0
# what: a join that is to ask for a stop does not
# operation: troupe_process_join
# file: src/process/process.c
# scenario: it asks the child to stop
# expect: hang
/^troupe_process_join/,/^}/s/^    if (p->join_stops)/    if (false)/
