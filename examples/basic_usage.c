/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Basic use: processes with names and with default names, an argument for each,
 * who am I and who is my parent, and the list of active children.
 *
 *     ./basic_usage
 */
#include "example.h"

#undef NDEBUG /* the assertions are part of what is shown */
#include <assert.h>
#include <string.h>
#include <unistd.h>

struct task {
    troupe_event *listed;
    int number;
};

static int
worker(void *arg)
{
    const struct task *task = arg;
    troupe_process *self = troupe_process_current();
    troupe_process *parent = troupe_process_parent();

    assert(troupe_process_pid(self) == getpid());
    assert(strcmp(troupe_process_name(self), "worker_name") == 0);
    assert(troupe_process_pid(parent) == getppid());
    troupe_log(TROUPE_LOG_DEBUG, "run %s(%d)", troupe_process_name(self),
               (int)troupe_process_pid(self));
    check(troupe_event_wait(task->listed, TROUPE_FOREVER), "wait");
    return 0;
}

static int
worker_args(void *arg)
{
    const struct task *task = arg;

    troupe_log(TROUPE_LOG_DEBUG, "worker %d", task->number);
    check(troupe_event_wait(task->listed, TROUPE_FOREVER), "wait");
    return 0;
}

static void
start(const char *name, int (*target)(void *), const struct task *task)
{
    troupe_process *p;

    /* A name of NULL is the default, "Process-N". The task is copied. */
    check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                .name = name, .target = target,
                                                .arg = task,
                                                .arg_size = sizeof(*task))),
          "troupe_process_new");
    check(troupe_process_start(p), "troupe_process_start");

    /* We let it go, and find it again among the active children. */
    troupe_process_free(p);
}

int
main(void)
{
    struct task task = {.listed = shared(sizeof(troupe_event))};
    troupe_process **children;
    size_t count;

    troupe_log_to_stderr(TROUPE_LOG_DEBUG);

    start("worker_name", worker, &task);
    for (task.number = 0; task.number < 5; task.number++) {
        start(NULL, worker_args, &task);
    }

    /* The children stay until we have seen them all. */
    check(troupe_process_active_children(&children, &count), "children");
    check(troupe_event_set(task.listed), "troupe_event_set");
    for (size_t i = 0; i < count; i++) {
        troupe_log(TROUPE_LOG_DEBUG, "join %s(%d)",
                   troupe_process_name(children[i]),
                   (int)troupe_process_pid(children[i]));
        check(troupe_process_join(children[i], TROUPE_FOREVER), "join");
    }
    troupe_process_list_free(children);
    return troupe_free(task.listed);
}
