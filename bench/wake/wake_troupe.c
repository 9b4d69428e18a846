/* SPDX-License-Identifier: Apache-2.0 */
/* troupe: an event in the family's heap, waited for without deadline. */
#include "wake_loop.h"

#include <troupe.h>

static void *
event_make(void)
{
    troupe_event *event = troupe_calloc(1, sizeof *event);

    bench_check(event, "troupe_calloc");
    return event;
}

static void
event_wait(void *subject)
{
    bench_check(troupe_event_wait(subject, TROUPE_FOREVER) == 0, "wait");
}

static void
event_set(void *subject)
{
    bench_check(troupe_event_set(subject) == 0, "set");
}

static void
event_clear(void *subject)
{
    bench_check(troupe_event_clear(subject) == 0, "clear");
}

int
main(int argc, char **argv)
{
    static const struct wake_system systems[] = {
        {"event", event_make, event_wait, event_set, event_clear},
    };

    wake_main(systems, sizeof systems / sizeof *systems, argc, argv);
    return 0;
}
