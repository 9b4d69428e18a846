# SPDX-License-Identifier: Apache-2.0
# what: another word for stopped
# operation: troupe_process_format
# file: src/process/format.c
# scenario: troupe_process_format
# expect: corruption
s/"stopped"/"ended"/
