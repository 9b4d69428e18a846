# SPDX-License-Identifier: Apache-2.0
# what: a child that has died while it joined the family is never found dead
# operation: troupe_process_start
# file: src/heap/member.c
# scenario: a declared producer dies
# expect: hang
/^record_dead/,/^}/s/^        return is_near(member) \&\& has_ended(member);/        return false;/
