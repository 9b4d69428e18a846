/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A join with a deadline: main waits 0.2 seconds for a daemon that works much
 * longer, finds it alive, and leaves. The daemon ends with it.
 *
 *     ./join_timeout
 */
#include "example.h"

static int
daemon_process(void *arg)
{
    troupe_event *started = arg;

    troupe_log(TROUPE_LOG_DEBUG, "start");
    check(troupe_event_set(started), "troupe_event_set");
    nap(60);
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
    troupe_event *started = shared(sizeof(*started));
    troupe_process *d;
    troupe_process *p;
    int status;

    troupe_log_to_stderr(TROUPE_LOG_DEBUG);
    check(troupe_process_new(
              &d, TROUPE_OPTIONS(troupe_process_options, .name = "daemon",
                                 .target = daemon_process, .arg = started,
                                 .daemon = true)),
          "troupe_process_new");
    check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                .name = "non_daemon",
                                                .target = non_daemon)),
          "troupe_process_new");

    check(troupe_process_start(d), "start");
    check(troupe_process_start(p), "start");
    check(troupe_event_wait(started, TROUPE_FOREVER), "wait");

    /* Wait until the daemon has ended, or 0.2 seconds. */
    status = troupe_process_join(d, troupe_after(0.2));
    if (status != -ETIMEDOUT) {
        check(status, "join");
    }
    if (troupe_process_is_alive(d)) {
        troupe_log(TROUPE_LOG_DEBUG, "%s is alive", troupe_process_name(d));
    }
    check(troupe_process_join(p, TROUPE_FOREVER), "join");

    troupe_process_free(d);
    troupe_process_free(p);
    return 0;
}
