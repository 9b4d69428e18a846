# SPDX-License-Identifier: Apache-2.0
# what: nobody knows of those who poll an event
# operation: troupe_event_fileno
# file: src/sync/event.c
# scenario: troupe_event_fileno
# expect: hang
/^troupe_event_fileno/,/^}/{
s/&event->pollers_, true, ret_fd/\&event->pollers_, false, ret_fd/
s/(void)troupe__fetch_or_seq_cst(&event->word_, POLLED);/(void)0;/
}
