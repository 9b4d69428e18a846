/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue between two processes: one puts a message, the other gets it.
 *
 *     ./queue_message
 */
#include "example.h"

#include <string.h>

static const char *
my_name(void)
{
    return troupe_process_name(troupe_process_current());
}

static int
set_data(void *queue)
{
    const char *message = "Hello world";

    check(troupe_queue_put(queue, message, strlen(message), TROUPE_FOREVER),
          "put");
    printf("[%s] set queue data : %s\n", my_name(), message);
    return 0;
}

static int
get_data(void *queue)
{
    char message[100];
    size_t size = sizeof(message);

    work(1);
    check(troupe_queue_get(queue, message, &size, TROUPE_FOREVER), "get");
    printf("[%s] get queue data : %.*s\n", my_name(), (int)size, message);
    return 0;
}

static troupe_process *
start(const char *name, int (*target)(void *), troupe_queue *queue)
{
    troupe_process *p;

    check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                .name = name, .target = target,
                                                .arg = queue)),
          "troupe_process_new");
    check(troupe_process_start(p), "start");
    return p;
}

int
main(void)
{
    troupe_queue *queue;
    troupe_process *p1;
    troupe_process *p2;

    check(troupe_queue_new(&queue, NULL), "troupe_queue_new");
    p1 = start("set_data", set_data, queue);
    p2 = start("get_data", get_data, queue);
    check(troupe_process_join(p1, TROUPE_FOREVER), "join");
    check(troupe_process_join(p2, TROUPE_FOREVER), "join");

    troupe_process_free(p1);
    troupe_process_free(p2);
    troupe_queue_free(queue);
    return 0;
}
