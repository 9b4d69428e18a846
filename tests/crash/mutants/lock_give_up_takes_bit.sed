# SPDX-License-Identifier: Apache-2.0
# what: who gives up takes the bit of those that sleep on
# operation: troupe_lock_acquire
# file: src/heap/mutex.c
# scenario: troupe_lock_acquire/held beside a sleeper
# expect: hang
s/^    while (value != 0 && (value & TROUPE__WAITERS) == 0)$/    while ((value \& TROUPE__WAITERS) != 0)/
s/if (troupe__cas_relaxed(word, &value, value | TROUPE__WAITERS))$/if (troupe__cas_relaxed(word, \&value, value \& ~TROUPE__WAITERS))/
