/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon process ends with the process that started it: without an argument
 * main leaves after three seconds, and "Exit" is never printed. With `join`
 * main waits until the daemon has finished.
 *
 *     ./daemon
 *     ./daemon join
 */
#include "example.h"

#include <string.h>

static int
daemon_process(void *arg)
{
    troupe_event *started = arg;

    printf("Start\n");
    check(troupe_event_set(started), "troupe_event_set");
    nap(5);
    printf("Exit\n");
    return 0;
}

int
main(int argc, char **argv)
{
    troupe_event *started = shared(sizeof(*started));
    troupe_process *d;

    check(troupe_process_new(
              &d, TROUPE_OPTIONS(troupe_process_options, .name = "daemon",
                                 .target = daemon_process, .arg = started)),
          "troupe_process_new");
    check(troupe_process_set_daemon(d, true), "troupe_process_set_daemon");

    check(troupe_process_start(d), "start");
    check(troupe_event_wait(started, TROUPE_FOREVER), "wait");
    if (argc > 1 && strcmp(argv[1], "join") == 0) {
        check(troupe_process_join(d, TROUPE_FOREVER), "join");
    } else {
        work(3);
    }
    printf("Main process terminated\n");

    troupe_process_free(d);
    return 0;
}
