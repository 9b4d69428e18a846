# SPDX-License-Identifier: Apache-2.0
# what: who is woken by a death does not pass it on
# operation: troupe_lock_acquire
# file: src/heap/wait.c
# scenario: troupe_lock_acquire/free; a holder of two
# expect: hang
/^pass_on_deaths/,/^}/s/troupe__futex_wake(targets\[i\].word, INT_MAX);/continue;/
