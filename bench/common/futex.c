/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
bench_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec timeout = {0};

    if (timeout_ns >= 0) {
        timeout.tv_sec = timeout_ns / 1000000000;
        timeout.tv_nsec = timeout_ns % 1000000000;
    }
    if (syscall(SYS_futex, word, FUTEX_WAIT, value,
                timeout_ns >= 0 ? &timeout : NULL) == 0)
        return 0;
    return -errno;
}

void
bench_futex_wake(uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count);
}

int
bench_futex_wait_bits(const uint32_t *word, uint32_t value, uint32_t bits)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, NULL, NULL, bits) ==
        0)
        return 0;
    return -errno;
}

void
bench_futex_wake_bits(uint32_t *word, int count, uint32_t bits)
{
    syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, NULL, NULL, bits);
}
