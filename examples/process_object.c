/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process as an object. Where Python derives a class from Process, C puts
 * a process into a struct: the struct is the object, the target its method
 * run(), and the argument of the target is self.
 *
 *     ./process_object
 */
#include "example.h"

struct my_process {
    troupe_process *process;
    const char *says;
};

static int
my_process_run(void *self)
{
    const struct my_process *my = self;

    printf("%s\n", my->says);
    return 0;
}

static int
my_process_init(struct my_process *my, const char *says)
{
    my->says = says;
    return troupe_process_new(
        &my->process, TROUPE_OPTIONS(troupe_process_options,
                                     .target = my_process_run, .arg = my));
}

int
main(void)
{
    struct my_process my;

    check(my_process_init(&my, "run"), "my_process_init");
    check(troupe_process_start(my.process), "start");
    check(troupe_process_join(my.process, TROUPE_FOREVER), "join");
    troupe_process_free(my.process);
    return 0;
}
