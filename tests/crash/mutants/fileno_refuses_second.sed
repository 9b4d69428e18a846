# SPDX-License-Identifier: Apache-2.0
# what: only one process can poll an object
# operation: troupe_queue_fileno
# file: src/sync/doorbell.c
# scenario: troupe_queue_fileno
# expect: corruption
/^            if (member != 0 && !troupe__member_dead(word_member(member)))$/{n;s/continue;/return NULL;/;}
