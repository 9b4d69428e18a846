/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five named workers once more, each an object of its own: a struct with
 * its arguments, and a process that finds it as its user pointer. Started, an
 * object is there twice: the child works on a copy of its parent's.
 *
 *     ./worker_object
 */
#include "example.h"

#include <unistd.h>

struct worker {
    troupe_process *process;
    int argument;
};

static int
worker_run(void *arg)
{
    troupe_process *process = troupe_process_current();
    const struct worker *self = troupe_process_user(process);

    (void)arg;
    printf("name: %s, argument: %d \n", troupe_process_name(process),
           self->argument);
    printf("parent pid: %d, pid: %d\n", (int)getppid(), (int)getpid());
    return 0;
}

static int
worker_init(struct worker *self, const char *name, int argument)
{
    self->argument = argument;
    return troupe_process_new(
        &self->process, TROUPE_OPTIONS(troupe_process_options, .name = name,
                                       .target = worker_run, .user = self));
}

int
main(void)
{
    for (int i = 0; i < 5; i++) {
        struct worker worker;
        char name[32];

        (void)snprintf(name, sizeof(name), "process %d", i);
        check(worker_init(&worker, name, i), "worker_init");
        check(troupe_process_start(worker.process), "start");
        troupe_process_free(worker.process);
    }
    return 0;
}
