/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exit codes: minus the signal of a process that was terminated, and what a
 * process gave to troupe_exit().
 *
 *     ./terminate
 */
#include "example.h"

static int
worker(void *arg)
{
    troupe_event *running = arg;

    troupe_log(TROUPE_LOG_DEBUG, "run");
    check(troupe_event_set(running), "troupe_event_set");
    nap(5);
    return 0;
}

static int
worker_exit_error(void *arg)
{
    (void)arg;
    troupe_exit(1);
}

int
main(void)
{
    troupe_event *running = shared(sizeof(*running));
    troupe_process *p;
    troupe_process *p_error;
    int code;
    int error_code;

    troupe_log_to_stderr(TROUPE_LOG_DEBUG);
    check(troupe_process_new(
              &p, TROUPE_OPTIONS(troupe_process_options, .name = "worker",
                                 .target = worker, .arg = running)),
          "troupe_process_new");
    check(troupe_process_new(&p_error,
                             TROUPE_OPTIONS(troupe_process_options,
                                            .name = "worker_exit_error",
                                            .target = worker_exit_error)),
          "troupe_process_new");

    check(troupe_process_start(p), "start");
    check(troupe_process_start(p_error), "start");

    check(troupe_event_wait(running, TROUPE_FOREVER), "wait");
    check(troupe_process_terminate(p), "terminate");

    /* Wait until the processes have ended. */
    check(troupe_process_join(p, TROUPE_FOREVER), "join");
    check(troupe_process_join(p_error, TROUPE_FOREVER), "join");
    check(troupe_process_exitcode(p, &code), "exitcode");
    check(troupe_process_exitcode(p_error, &error_code), "exitcode");
    troupe_log(TROUPE_LOG_DEBUG, "%d, %d", code, error_code);

    troupe_process_free(p);
    troupe_process_free(p_error);
    return troupe_free(running);
}
