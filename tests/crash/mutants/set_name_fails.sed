# SPDX-License-Identifier: Apache-2.0
# what: a name cannot be changed
# operation: troupe_process_set_name
# file: src/process/process.c
# scenario: troupe_process_set_name
# expect: corruption
s/^    status = troupe__process_rename(p, name);/    status = -ENOMEM;/
