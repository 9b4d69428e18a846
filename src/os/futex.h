/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Futexes, always shared ones: the memory is shared between processes. Every
 * wait takes an absolute CLOCK_MONOTONIC time in nanoseconds; who may wait how
 * long is decided in heap/wait.h, never here.
 */
#ifndef TROUPE_SRC_OS_FUTEX_H
#define TROUPE_SRC_OS_FUTEX_H

#include <stdint.h>

struct troupe__futex_target {
    const uint32_t *word;
    uint32_t seen;
};

/* The kernel takes 128. */
#define TROUPE__FUTEX_TARGETS 66

/* Sleeps while *word == seen. 0: woken; -EAGAIN: the word differed; -EINTR;
 * -ETIMEDOUT. All of them are hints to look again. */
int troupe__futex_wait(const uint32_t *word, uint32_t seen, int64_t until);

/* Sleeps while every target holds what was seen, at most TROUPE__FUTEX_TARGETS
 * of them. As above, and -ENOSYS where the kernel, or a filter in front of it,
 * does not have the call or refuses it: the caller then sleeps on one word. */
int troupe__futex_wait_any(const struct troupe__futex_target *targets,
                           unsigned count, int64_t until);

/* Wakes up to `count` sleepers; returns how many. Async-signal-safe, leaves
 * errno alone. */
int troupe__futex_wake(const uint32_t *word, int count);

#endif
