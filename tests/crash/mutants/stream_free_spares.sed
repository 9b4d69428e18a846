# SPDX-License-Identifier: Apache-2.0
# what: a worker goes on with a task of a stream that is freed
# operation: troupe_imap_free
# file: src/pool/imap.c
# scenario: troupe_imap_free/a worker sleeps
# expect: hang
/^troupe_imap_free/,/^}/s/^        troupe__crew_kill(control, self, runs_here, imap, imap->view.stream);/        (void)runs_here;/
