/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cooperative stop.
 */
#include "helper.h"

#include <pthread.h>

struct scene {
    troupe_event ready;
    troupe_event never;
    troupe_lock lock;
    int rounds;
};

/* Runs a target until it is ready, asks it to stop, and looks how it ends. */
static void
check_stopped(int (*target)(void *), int code)
{
    struct scene *scene = SHARED(struct scene);
    troupe_process *p = process_start(target, scene);

    CHECK_RC(troupe_event_wait(&scene->ready, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_stop(p), 0);
    CHECK_EQ(process_finish(p), code);
    CHECK_RC(troupe_free(scene), 0);
}

static int
child_polls(void *arg)
{
    struct scene *scene = arg;

    CHECK_RC(troupe_event_set(&scene->ready), 0);
    while (!troupe_stop_requested())
        __atomic_add_fetch(&scene->rounds, 1, __ATOMIC_RELAXED);
    return 31;
}

TEST(stop_is_seen_by_a_polling_child)
{
    struct scene *scene = SHARED(struct scene);
    troupe_process *p = process_start(child_polls, scene);

    CHECK_RC(troupe_event_wait(&scene->ready, TROUPE_FOREVER), 0);
    CHECK(troupe_process_is_alive(p));
    CHECK_RC(troupe_process_stop(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_stop(p), 0); /* it has ended: nothing */
    CHECK_EQ(process_finish(p), 31);
    CHECK(!troupe_stop_requested());
    CHECK_RC(troupe_free(scene), 0);
}

static int
child_waits_stoppably(void *arg)
{
    struct scene *scene = arg;

    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_event_set(&scene->ready), 0);
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), -ECANCELED);
    /* Every further wait too, inside; none outside. */
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), -ECANCELED);
    CHECK_RC(troupe_stoppable_begin(), 0);
    troupe_stoppable_end();
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), -ECANCELED);
    troupe_stoppable_end();
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_NOW), -ETIMEDOUT);
    troupe_stoppable_end(); /* one too many does nothing */
    return 32;
}

TEST(stop_ends_waits_in_stoppable_sections)
{
    check_stopped(child_waits_stoppably, 32);
}

static int
child_joins_stoppably(void *arg)
{
    struct scene *scene = arg;
    troupe_process *p = process_start(child_sleeps, NULL);

    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_event_set(&scene->ready), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), -ECANCELED);
    CHECK(troupe_process_is_alive(p));
    /* The parent is waited for in the same way. */
    CHECK_RC(troupe_process_join(troupe_process_parent(), TROUPE_FOREVER),
             -ECANCELED);
    troupe_stoppable_end();
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_EQ(process_finish(p), -SIGKILL);
    return 33;
}

TEST(stop_ends_a_join)
{
    check_stopped(child_joins_stoppably, 33);
}

/* Ends only when it is stopped, by whoever joins it. */
static troupe_process *
start_endless(struct scene *scene)
{
    troupe_process *p;

    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = child_polls,
                                                   .arg = scene,
                                                   .join_stops = true)),
             0);
    CHECK_RC(troupe_process_start(p), 0);
    return p;
}

TEST(join_stops_if_it_is_to)
{
    struct scene *scene = SHARED(struct scene);

    CHECK_EQ(process_finish(start_endless(scene)), 31);
    CHECK_RC(troupe_free(scene), 0);
}

static int
child_leaves_an_endless_one(void *scene)
{
    (void)start_endless(scene);
    return 34;
}

TEST(exit_stops_what_join_stops)
{
    struct scene *scene = SHARED(struct scene);

    CHECK_EQ(process_finish(process_start(child_leaves_an_endless_one, scene)),
             34);
    CHECK_RC(troupe_free(scene), 0);
}

static void
stop_on_signal(int signo)
{
    (void)signo;
    (void)troupe_process_stop(troupe_process_current());
}

static int
child_makes_a_stop_of_sigterm(void *arg)
{
    struct sigaction action = {.sa_handler = stop_on_signal};
    struct scene *scene = arg;

    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_EQ(sigaction(SIGTERM, &action, NULL), 0);
    CHECK_RC(troupe_event_set(&scene->ready), 0);
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), -ECANCELED);
    troupe_stoppable_end();
    return 35;
}

TEST(stop_of_oneself_in_a_signal_handler)
{
    struct scene *scene = SHARED(struct scene);
    troupe_process *p = process_start(child_makes_a_stop_of_sigterm, scene);

    CHECK_RC(troupe_event_wait(&scene->ready, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_EQ(process_finish(p), 35);
    CHECK_RC(troupe_free(scene), 0);
}

/* A signal that comes when the child does not know yet that it is one: the
 * handler was registered before the library's, and so is called before it. */
static bool newborn_gets_a_signal;

static void
child_after_fork(void)
{
    if (newborn_gets_a_signal)
        CHECK_EQ(raise(SIGTERM), 0);
}

static int
child_says_whether_to_stop(void *unused)
{
    (void)unused;
    return troupe_stop_requested() ? 37 : 1;
}

TEST(stop_of_a_newborn_in_a_signal_handler)
{
    struct sigaction action = {.sa_handler = stop_on_signal};

    CHECK_EQ(pthread_atfork(NULL, NULL, child_after_fork), 0);
    CHECK_EQ(sigaction(SIGTERM, &action, NULL), 0);
    CHECK_RC(troupe_stoppable_begin(), 0);
    troupe_stoppable_end();
    newborn_gets_a_signal = true;
    CHECK_EQ(process_finish(process_start(child_says_whether_to_stop, NULL)),
             37);
    CHECK(!troupe_stop_requested());
}

static void
ask_on_signal(int signo)
{
    (void)signo;
    CHECK_STR(troupe_process_name(troupe_process_current()), "MainProcess");
}

TEST(newborn_of_a_raw_fork_knows_itself_in_a_signal_handler)
{
    struct sigaction action = {.sa_handler = ask_on_signal};
    sigset_t mask;
    pid_t pid;

    CHECK_EQ(pthread_atfork(NULL, NULL, child_after_fork), 0);
    CHECK_EQ(sigaction(SIGTERM, &action, NULL), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(0))), 0);
    newborn_gets_a_signal = true;
    pid = fork_raw();
    if (pid == 0) {
        CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
        CHECK_EQ(sigismember(&mask, SIGTERM), 0);
        _exit(14);
    }
    CHECK_EQ(wait_raw(pid), 14);
    CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGTERM), 0);
}

TEST(stop_of_the_root)
{
    CHECK(!troupe_stop_requested());
    CHECK_RC(troupe_process_stop(troupe_process_current()), 0);
    CHECK(troupe_stop_requested());
    /* A child has not been asked. */
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(0))), 0);
}

static int
child_is_not_stopped(void *unused)
{
    (void)unused;
    return troupe_stop_requested() ? 1 : 0;
}

TEST(stop_does_not_reach_the_next_process)
{
    unsigned i;

    /* The next takes the same record: a stop of the last must not stick. */
    for (i = 0; i < 20; i++) {
        troupe_process *p = process_start(child_is_not_stopped, NULL);

        CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_process_stop(p), 0);
        CHECK_EQ(process_finish(p), 0);
    }
}

static int
child_exits_when_stopped(void *arg)
{
    struct scene *scene = arg;
    troupe_process *p = process_start(child_waits, &scene->never);

    CHECK_RC(troupe_stoppable_begin(), 0);
    CHECK_RC(troupe_event_set(&scene->ready), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), -ECANCELED);
    /* In the section, asked to stop: exit waits for the child none the less. */
    CHECK_RC(troupe_event_set(&scene->never), 0);
    exit(36);
}

TEST(exit_waits_for_children_though_asked_to_stop)
{
    check_stopped(child_exits_when_stopped, 36);
}
