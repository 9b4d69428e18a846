# SPDX-License-Identifier: Apache-2.0
# what: a stream ends before its results
# operation: troupe_imap_next
# file: src/pool/imap.c
# scenario: troupe_pool_imap_unordered
# expect: corruption
s/^    return next(self, imap, ret_result, deadline);/    return TROUPE_END;/
