/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordinary variables are not shared: each process has a copy of its own, made
 * when it was started, and main's counter stays what it was.
 *
 *     ./counters
 */
#include "example.h"

static int counter = 10;

static int
hello(void *name)
{
    for (int i = 0; i < 5; i++) {
        counter++;
        work(0.5);
        printf("hello %s %d\n", (const char *)name, counter);
    }
    return 0;
}

int
main(void)
{
    troupe_process *p;
    troupe_process *q;

    check(
        troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .target = hello, .arg = "world")),
        "troupe_process_new");
    check(troupe_process_new(&q,
                             TROUPE_OPTIONS(troupe_process_options,
                                            .target = hello, .arg = "myself")),
          "troupe_process_new");
    check(troupe_process_start(p), "start");
    check(troupe_process_start(q), "start");
    /* p, q and main run at the same time here */

    check(troupe_process_join(p, TROUPE_FOREVER), "join");
    check(troupe_process_join(q, TROUPE_FOREVER), "join");
    printf("counter is  %d\n", counter);

    troupe_process_free(p);
    troupe_process_free(q);
    return 0;
}
