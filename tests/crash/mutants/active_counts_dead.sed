# SPDX-License-Identifier: Apache-2.0
# what: one child too many
# operation: troupe_process_active_children
# file: src/process/children.c
# scenario: troupe_process_active
# expect: corruption
s/\*ret_count = count;/*ret_count = count + 1;/
