/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of a family that does nothing: the shared memory that it
 * takes from the system, all of it, touched or not: the blocks of every memfd
 * that its first process has open. A mapping of a memfd that is not open is
 * a failure, since it could not be counted. The harness's own memory is
 * anonymous and not counted.
 */
#ifndef BENCH_MEMORY_MAIN_H
#define BENCH_MEMORY_MAIN_H

#include <bench.h>

struct memory_system {
    void (*create)(void); /* in the first process */
    void (*join)(void);   /* in each process, the first one too */
};

void memory_main(const struct memory_system *system, int argc, char **argv);

#endif
