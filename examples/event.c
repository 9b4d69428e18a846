/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event that two processes wait for: one until it is set, the other for two
 * seconds only, which is not long enough.
 *
 *     ./event
 */
#include "example.h"

static const char *
is_set(const troupe_event *event)
{
    return troupe_event_is_set(event) ? "True" : "False";
}

static int
wait_for_event(void *arg)
{
    troupe_event *e = arg;

    printf("wait_for_event: starting\n");
    check(troupe_event_wait(e, TROUPE_FOREVER), "wait");
    printf("wait_for_event: e.is_set()-> %s\n", is_set(e));
    return 0;
}

static int
wait_for_event_timeout(void *arg)
{
    troupe_event *e = arg;
    int status;

    printf("wait_for_event_timeout: starting\n");
    status = troupe_event_wait(e, troupe_after(scaled(2)));
    if (status != -ETIMEDOUT) {
        check(status, "wait");
    }
    printf("wait_for_event_timeout: e.is_set()-> %s\n", is_set(e));
    return 0;
}

int
main(void)
{
    troupe_event *e = shared(sizeof(*e));
    troupe_process *w1;
    troupe_process *w2;

    check(troupe_process_new(
              &w1, TROUPE_OPTIONS(troupe_process_options, .name = "block",
                                  .target = wait_for_event, .arg = e)),
          "troupe_process_new");
    check(troupe_process_start(w1), "start");

    check(troupe_process_new(
              &w2, TROUPE_OPTIONS(troupe_process_options, .name = "nonblock",
                                  .target = wait_for_event_timeout, .arg = e)),
          "troupe_process_new");
    check(troupe_process_start(w2), "start");

    printf("main: waiting before calling Event.set()\n");
    work(3);
    check(troupe_process_join(w2, TROUPE_FOREVER), "join");
    check(troupe_event_set(e), "troupe_event_set");
    printf("main: event is set\n");

    /* Nobody joins w1 here: the end of main waits for it. */
    troupe_process_free(w1);
    troupe_process_free(w2);
    return 0;
}
