# SPDX-License-Identifier: Apache-2.0
# what: a name is written over the old one
# operation: troupe_process_set_name
# file: src/heap/member.c
# scenario: troupe_process_set_name
# expect: corruption
/^troupe__member_rename/,/^}/s/^    troupe__store_relaxed(&here->name\[0\], '\\0');/    (void)0;/
