# SPDX-License-Identifier: Apache-2.0
# what: a section is none
# operation: troupe_stoppable_begin
# file: src/process/stop.c
# scenario: troupe_process_stop
# expect: hang
s/^    self->stoppable++;/    (void)self;/
