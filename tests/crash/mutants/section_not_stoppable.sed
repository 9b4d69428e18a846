# SPDX-License-Identifier: Apache-2.0
# what: a section is none
# operation: troupe_stoppable_begin
# file: src/process/stop.c
# scenario: troupe_stoppable_begin/asked
# expect: hang
s/^    self->stoppable++;/    (void)self;/
