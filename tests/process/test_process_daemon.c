/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Daemons: children that end with their parent.
 */
#include "helper.h"

#include <pthread.h>
#include <sys/prctl.h>

struct scene {
    troupe_event ready;
    troupe_event never;
    int started;
    pid_t pids[3];
};

static int
daemon_ignores_sigterm(void *arg)
{
    struct scene *scene = arg;

    CHECK(signal(SIGTERM, SIG_IGN) != SIG_ERR);
    __atomic_add_fetch(&scene->started, 1, __ATOMIC_SEQ_CST);
    CHECK_RC(troupe_event_set(&scene->ready), 0);
    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), 0);
    return 0;
}

static void
start_daemon(struct scene *scene)
{
    CHECK_RC(
        troupe_process_start(process_new(daemon_ignores_sigterm, scene, true)),
        0);
}

static void *
start_in_thread(void *scene)
{
    start_daemon(scene);
    return NULL;
}

/* Starts daemons from its first thread and from one that ends, and another
 * child that is none, and is then killed. */
static int
child_with_daemons(void *arg)
{
    struct scene *scene = arg;
    pthread_t thread;

    start_daemon(scene);
    CHECK_EQ(pthread_create(&thread, NULL, start_in_thread, scene), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    start_daemon(scene);
    return child_sleeps(NULL);
}

TEST(daemons_die_with_a_killed_parent)
{
    struct scene *scene = SHARED(struct scene);
    troupe_process *p;
    unsigned i;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphans become ours */
    p = process_start(child_with_daemons, scene);
    while (__atomic_load_n(&scene->started, __ATOMIC_SEQ_CST) != 3) {
        CHECK_RC(troupe_event_wait(&scene->ready, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_event_clear(&scene->ready), 0);
    }
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_EQ(process_finish(p), -SIGKILL);
    for (i = 0; i < 3; i++)
        CHECK_EQ(wait_raw(-1), -SIGKILL);
    CHECK_RC(troupe_free(scene), 0);
}

static int
child_survives(void *arg)
{
    struct scene *scene = arg;

    CHECK_RC(troupe_event_wait(&scene->never, TROUPE_FOREVER), 0);
    return 0;
}

/* A daemon, and siblings forked after it that live on: a started one, and one
 * by a fork of the host's own. */
static int
child_with_siblings(void *arg)
{
    struct scene *scene = arg;
    troupe_process *p = process_new(daemon_ignores_sigterm, scene, true);
    pid_t raw;

    CHECK_RC(troupe_process_start(p), 0);
    scene->pids[0] = troupe_process_pid(p);
    scene->pids[1] = troupe_process_pid(process_start(child_survives, scene));
    raw = fork_raw();
    if (raw != 0) {
        scene->pids[2] = raw;
        CHECK_RC(troupe_event_set(&scene->ready), 0);
    }
    return child_sleeps(NULL);
}

TEST(daemon_dies_though_its_siblings_live)
{
    struct scene *scene = SHARED(struct scene);
    troupe_process *p;

    /* The orphans become ours. */
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    p = process_start(child_with_siblings, scene);
    while (scene->started == 0 || scene->pids[2] == 0) {
        CHECK_RC(troupe_event_wait(&scene->ready, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_event_clear(&scene->ready), 0);
    }
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_EQ(process_finish(p), -SIGKILL);
    CHECK_EQ(wait_raw(scene->pids[0]), -SIGKILL);
    CHECK_EQ(waitpid(scene->pids[1], NULL, WNOHANG), 0);
    CHECK_EQ(waitpid(scene->pids[2], NULL, WNOHANG), 0);
    CHECK_RC(troupe_event_set(&scene->never), 0);
    CHECK_EQ(wait_raw(scene->pids[1]), 0);
    CHECK_EQ(kill(scene->pids[2], SIGKILL), 0);
    CHECK_EQ(wait_raw(scene->pids[2]), -SIGKILL);
    CHECK_RC(troupe_free(scene), 0);
}

static int
daemon_tries_to_start(void *unused)
{
    troupe_process *p = process_new(child_returns, NULL, false);

    (void)unused;
    CHECK_RC(troupe_process_start(p), -EPERM);
    CHECK(strstr(troupe_error_detail(), "daemonic") != NULL);
    troupe_process_free(p);
    return 5;
}

TEST(daemon_has_no_children)
{
    troupe_process *p = process_new(daemon_tries_to_start, NULL, true);

    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(process_finish(p), 5);
}

static int
daemon_waits_for_sigterm(void *arg)
{
    CHECK_RC(troupe_event_set(arg), 0);
    return child_sleeps(NULL);
}

static int
child_exits_with_a_daemon(void *arg)
{
    troupe_process *p = process_new(daemon_waits_for_sigterm, arg, true);

    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_event_wait(arg, TROUPE_FOREVER), 0);
    return 2;
}

TEST(daemon_is_terminated_and_joined_at_exit)
{
    troupe_event *ready = SHARED(troupe_event);
    siginfo_t info;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    CHECK_EQ(process_finish(process_start(child_exits_with_a_daemon, ready)),
             2);
    /* It was reaped by its parent: nobody is left for us. */
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_RC(troupe_free(ready), 0);
}

TEST(daemon_can_be_joined)
{
    troupe_process *p = process_new(child_returns, NUMBER(9), true);

    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(process_finish(p), 9);
}
