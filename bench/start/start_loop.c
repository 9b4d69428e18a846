/* SPDX-License-Identifier: Apache-2.0 */
#include "start_loop.h"

enum { SAMPLES_MAX = 1 << 16 };

void
start_measure(start_one *one, double seconds)
{
    double *samples = bench_buffer(SAMPLES_MAX * sizeof *samples);
    int64_t end = bench_now() + (int64_t)(seconds * 1e9);
    int64_t now = bench_now();
    size_t count = 0;

    while (now < end && count < SAMPLES_MAX) {
        int64_t before = now;
        int status = one();

        now = bench_now();
        bench_check(status == START_STATUS, "ended with status %d", status);
        samples[count++] = (double)(now - before) / 1e3;
    }
    bench_report("us", bench_median(samples, count));
}
