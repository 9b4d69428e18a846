/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the examples share: an end with a message when a call fails, and work,
 * which they do as the listings they follow do it, by sleeping.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <troupe.h>

/* Most calls of the library return a status; a negative one means that
 * nothing happened. */
static inline void
check(int status, const char *what)
{
    if (status < 0) {
        (void)fprintf(stderr, "%s: %s%s%s\n", what, troupe_strerror(status),
                      troupe_error_detail()[0] != '\0' ? ": " : "",
                      troupe_error_detail());
        troupe_exit(EXIT_FAILURE);
    }
}

/* Memory that all processes see, at the same address, cleared. */
static inline void *
shared(size_t size)
{
    void *memory = troupe_calloc(1, size);

    check(memory != NULL ? 0 : -errno, "troupe_calloc");
    return memory;
}

static inline void
nap(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};

    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* A listing's seconds; EXAMPLE_SCALE=0.1 makes them ten times shorter. */
static inline double
scaled(double seconds)
{
    const char *scale = getenv("EXAMPLE_SCALE");

    return scale != NULL ? seconds * strtod(scale, NULL) : seconds;
}

/* Works for that long. What is to be cut short takes a nap instead, which is
 * not scaled. */
static inline void
work(double seconds)
{
    nap(scaled(seconds));
}

#endif
