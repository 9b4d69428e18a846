/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's log: off until asked for, then on stderr, from a level on.
 * DEBUG tells every step in the life of a process; with an argument, INFO
 * tells less, and WARNING nothing here.
 *
 *     ./log_levels [DEBUG|INFO|WARNING]
 */
#include "example.h"

#include <string.h>

static int
worker(void *arg)
{
    const int *count = arg;

    printf("count: %d\n", *count);
    return 0;
}

static int
level_named(const char *name)
{
    return strcmp(name, "WARNING") == 0 ? TROUPE_LOG_WARNING
           : strcmp(name, "INFO") == 0  ? TROUPE_LOG_INFO
                                        : TROUPE_LOG_DEBUG;
}

int
main(int argc, char **argv)
{
    troupe_log_to_stderr(0);
    troupe_log_set_level(level_named(argc > 1 ? argv[1] : "DEBUG"));

    for (int i = 0; i < 5; i++) {
        troupe_process *p;

        check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                    .target = worker, .arg = &i,
                                                    .arg_size = sizeof(i))),
              "troupe_process_new");
        check(troupe_process_start(p), "start");
        troupe_process_free(p);
    }
    return 0;
}
