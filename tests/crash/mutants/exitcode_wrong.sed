# SPDX-License-Identifier: Apache-2.0
# what: another exit code
# operation: troupe_process_exitcode
# file: src/process/process.c
# scenario: troupe_process_exitcode
# expect: corruption
s/^        \*ret_code = p->code;/        *ret_code = p->code + 1;/
