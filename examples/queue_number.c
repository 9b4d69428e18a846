/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue from main to a process: a number goes through it. When put returns
 * the number is in shared memory, so there is no thread to wait for before
 * main may go on.
 *
 *     ./queue_number
 */
#include "example.h"

static int
worker(void *arg)
{
    troupe_queue *queue = arg;
    int i;
    size_t size = sizeof(i);

    check(troupe_queue_get(queue, &i, &size, TROUPE_FOREVER), "get");
    printf("%d\n", i);
    return 0;
}

int
main(void)
{
    troupe_queue *queue;
    troupe_process *p;
    const int i = 1;

    check(troupe_queue_new(&queue, NULL), "troupe_queue_new");
    check(
        troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .target = worker, .arg = queue)),
        "troupe_process_new");
    check(troupe_process_start(p), "start");

    check(troupe_queue_put(queue, &i, sizeof(i), TROUPE_FOREVER), "put");
    check(troupe_queue_close(queue), "close");
    check(troupe_process_join(p, TROUPE_FOREVER), "join");

    troupe_process_free(p);
    troupe_queue_free(queue);
    return 0;
}
