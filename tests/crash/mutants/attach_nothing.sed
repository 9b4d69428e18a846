# SPDX-License-Identifier: Apache-2.0
# what: who declares itself is not noted
# operation: troupe_queue_attach_producer troupe_queue_attach_consumer
# file: src/ipc/queue_parties.c
# scenario: troupe_queue_attach
# expect: hang
/^attach(/,/^}/s/^{$/{ if (queue != NULL) return 0;/
