# SPDX-License-Identifier: Apache-2.0
# what: workers live on when the creator was killed
# operation: troupe_pool_new
# file: src/pool/crew.c
# scenario: troupe_pool_new
# expect: hang
s/^\( *\)\.daemon = true};/\1.daemon = false};/
