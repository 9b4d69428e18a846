/* SPDX-License-Identifier: Apache-2.0 */
/* yardstick:equal-shares: Jain's index of equal shares, which is 1. Not
 * measured: a lock that serves in turn falls short of it on a busy machine. */
#include <bench.h>

int
main(int argc, char **argv)
{
    struct bench_arguments arguments;

    bench_parse(&arguments, argc, argv);
    bench_report("index", 1);
    return 0;
}
