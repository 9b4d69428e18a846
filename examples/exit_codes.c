/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How processes end: one well, one with an error, one that is terminated. Each
 * is printed before its start, while it runs, and afterwards.
 *
 *     ./exit_codes
 */
#include "example.h"

#define JOBS 3

static void
say(const char *what)
{
    troupe_process *p = troupe_process_current();

    printf("%s%s, pid:%d\n", what, troupe_process_name(p),
           (int)troupe_process_pid(p));
}

static void
say_start(troupe_event *started)
{
    say("Start name: ");
    check(troupe_event_set(started), "troupe_event_set");
}

static int
good_job(void *started)
{
    say_start(started);
    work(5);
    say("Exit name:");
    return 0;
}

static int
fail_job(void *started)
{
    say_start(started);
    work(5);
    say("Exit name:");
    troupe_exit(1);
}

static int
kill_job(void *started)
{
    say_start(started);
    nap(10);
    say("Exit name:");
    return 0;
}

static void
print(const char *what, troupe_process *p, const char *separator)
{
    char text[200];

    (void)troupe_process_format(p, text, sizeof(text));
    printf("%s : %s%s %s\n", what, text, separator,
           troupe_process_is_alive(p) ? "True" : "False");
}

static void
terminate(troupe_process *p)
{
    char text[200];

    (void)troupe_process_format(p, text, sizeof(text));
    printf("Terminate process : %s\n", text);
    check(troupe_process_terminate(p), "terminate");
}

int
main(void)
{
    static const struct {
        const char *name;
        int (*target)(void *);
    } jobs[JOBS] = {
        {"good_job", good_job}, {"fail_job", fail_job}, {"kill_job", kill_job}};

    troupe_event *started = shared(JOBS * sizeof(*started));
    troupe_process *p[JOBS];

    for (int i = 0; i < JOBS; i++) {
        check(troupe_process_new(&p[i], TROUPE_OPTIONS(troupe_process_options,
                                                       .name = jobs[i].name,
                                                       .target = jobs[i].target,
                                                       .arg = &started[i])),
              "troupe_process_new");
        print("Process check", p[i], ",");
        check(troupe_process_start(p[i]), "start");
        check(troupe_event_wait(&started[i], TROUPE_FOREVER), "wait");
    }
    for (int i = 0; i < JOBS; i++) {
        print("process check", p[i], "");
    }

    /* the good one and the failing one come to their ends */
    check(troupe_process_join(p[0], TROUPE_FOREVER), "join");
    check(troupe_process_join(p[1], TROUPE_FOREVER), "join");

    for (int i = 0; i < JOBS; i++) {
        print("Process check", p[i], "");
        if (troupe_process_is_alive(p[i])) {
            terminate(p[i]);
        }
    }
    for (int i = 0; i < JOBS; i++) {
        int code;

        check(troupe_process_join(p[i], TROUPE_FOREVER), "join");
        check(troupe_process_exitcode(p[i], &code), "exitcode");
        printf("Process name: %s, exit code : %d\n", troupe_process_name(p[i]),
               code);
        troupe_process_free(p[i]);
    }
    return troupe_free(started);
}
