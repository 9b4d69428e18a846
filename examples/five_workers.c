/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Five processes with names and arguments. Main starts them and is done; its
 * end waits for them.
 *
 *     ./five_workers
 */
#include "example.h"

#include <unistd.h>

static int
worker(void *arg)
{
    const int *count = arg;

    printf("name: %s, argument : %d\n",
           troupe_process_name(troupe_process_current()), *count);
    printf("parent pid:%d  pid:%d\n", (int)getppid(), (int)getpid());
    printf("\n");
    return 0;
}

int
main(void)
{
    for (int i = 0; i < 5; i++) {
        troupe_process *p;
        char name[32];

        (void)snprintf(name, sizeof(name), "process %d", i);
        check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                    .name = name,
                                                    .target = worker, .arg = &i,
                                                    .arg_size = sizeof(i))),
              "troupe_process_new");
        check(troupe_process_start(p), "start");
        troupe_process_free(p);
    }
    return 0;
}
