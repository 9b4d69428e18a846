# SPDX-License-Identifier: Apache-2.0
# what: a child waits at its gate though its parent is dead
# operation: troupe_process_start
# file: src/heap/member.c
# scenario: troupe_process_start/a child that returns,troupe_process_start/the child dies after
# expect: hang
/^troupe__member_await/,/^}/s/(troupe__tag_dead(birth->parent_tag) &&/(false \&\&/
