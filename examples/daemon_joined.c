/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon process beside one that is none, both joined: the daemon may finish
 * its work. See daemon.c for what happens when nobody joins it.
 *
 *     ./daemon_joined
 */
#include "example.h"

static int
daemon_process(void *arg)
{
    (void)arg;
    troupe_log(TROUPE_LOG_DEBUG, "start");
    work(0.2);
    troupe_log(TROUPE_LOG_DEBUG, "end");
    return 0;
}

static int
non_daemon(void *arg)
{
    (void)arg;
    troupe_log(TROUPE_LOG_DEBUG, "run");
    return 0;
}

int
main(void)
{
    troupe_process *d;
    troupe_process *p;

    troupe_log_to_stderr(TROUPE_LOG_DEBUG);
    check(troupe_process_new(
              &d, TROUPE_OPTIONS(troupe_process_options, .name = "daemon",
                                 .target = daemon_process, .daemon = true)),
          "troupe_process_new");
    check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                .name = "non_daemon",
                                                .target = non_daemon)),
          "troupe_process_new");

    check(troupe_process_start(d), "start");
    check(troupe_process_start(p), "start");

    /* Wait until the processes have ended. */
    check(troupe_process_join(d, TROUPE_FOREVER), "join");
    check(troupe_process_join(p, TROUPE_FOREVER), "join");

    troupe_process_free(d);
    troupe_process_free(p);
    return 0;
}
