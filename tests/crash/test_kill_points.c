/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

TEST_TIMEOUT(some_kill_points_of_every_operation_hurt_nobody, 600)
{
    /* With the library, every function of it must be covered. */
    char *arguments[] = {(char[]){"crash-engine"},
                         (char[]){"--sample"},
                         (char[]){"3"},
                         (char[]){"--quiet"},
                         (char[]){"--library"},
                         (char[]){CRASH_LIBRARY},
                         NULL};

    run_beside("crash-engine", arguments);
}

TEST_TIMEOUT(the_lock_and_the_event_need_no_futex_waitv, 300)
{
    char *arguments[] = {(char[]){"crash-engine"},
                         (char[]){"--quiet"},
                         (char[]){"--without-waitv"},
                         (char[]){"--sample"},
                         (char[]){"6"},
                         (char[]){"--scenario"},
                         (char[]){"troupe_lock,troupe_event"},
                         NULL};

    run_beside("crash-engine", arguments);
}

/* What the processor does is what flow.c says; by that victims are stepped. */
TEST_TIMEOUT(instructions_lead_where_the_engine_thinks_they_do, 300)
{
    char *arguments[] = {
        (char[]){"crash-engine"},
        (char[]){"--quiet"},
        (char[]){"--single-step"},
        (char[]){"--sample"},
        (char[]){"1"},
        (char[]){"--scenario"},
        (char[]){"troupe_process_format,troupe_queue_put/empty,troupe_alloc,"
                 "troupe_strdup,troupe_log"},
        NULL};

    run_beside("crash-engine", arguments);
}
