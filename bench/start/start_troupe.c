/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe: a process with its default start method, fork, made, started,
 * joined, asked for its exit code and freed.
 */
#include "start_loop.h"

#include <troupe.h>

static int
target(void *argument)
{
    (void)argument;
    return START_STATUS;
}

static int
start_troupe(void)
{
    troupe_process_options options = {.size = sizeof options, .target = target};
    troupe_process *process;
    int code = -1;

    bench_check(troupe_process_new(&process, &options) == 0 &&
                    troupe_process_start(process) == 0 &&
                    troupe_process_join(process, TROUPE_FOREVER) == 0 &&
                    troupe_process_exitcode(process, &code) == 0,
                "a process: %s", troupe_error_detail());
    troupe_process_free(process);
    return code;
}

int
main(int argc, char **argv)
{
    struct bench_arguments arguments;

    bench_parse(&arguments, argc, argv);
    start_measure(start_troupe, arguments.seconds);
    return 0;
}
