/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of pools have in common.
 */
#ifndef TROUPE_TESTS_PROCESS_POOL_HELPER_H
#define TROUPE_TESTS_PROCESS_POOL_HELPER_H

#include "helper.h"

#include <errno.h>
#include <stdlib.h>

#define MAP_OPTIONS(...)  TROUPE_OPTIONS(troupe_map_options, __VA_ARGS__)
#define IMAP_OPTIONS(...) TROUPE_OPTIONS(troupe_imap_options, __VA_ARGS__)

static inline troupe_pool *
pool_new(uint32_t processes)
{
    troupe_pool *pool = NULL;

    CHECK_RC(troupe_pool_new(&pool, TROUPE_OPTIONS(troupe_pool_options,
                                                   .processes = processes)),
             0);
    CHECK(pool != NULL);
    return pool;
}

static inline void
pool_finish(troupe_pool *pool)
{
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
}

static inline troupe_pool_info
pool_info(troupe_pool *pool)
{
    troupe_pool_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_pool_info_get(pool, &info), 0);
    return info;
}

/* A report that is ready to be filled in. */
static inline troupe_map_report
report_new(void)
{
    troupe_map_report report = {.size = sizeof(report)};

    return report;
}

static inline uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
