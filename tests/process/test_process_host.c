/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes in a program that has ideas of its own about children and signals.
 */
#include "helper.h"

#include <pthread.h>
#include <sys/ptrace.h>

TEST(host_that_reaps_everything_takes_no_exit_code)
{
    troupe_process *p = process_start(child_returns, NUMBER(42));
    pid_t pid = troupe_process_pid(p);
    int code;

    CHECK_EQ(wait_raw(pid), 42);
    CHECK_EQ(waitpid(-1, NULL, 0), -1);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &code), 0);
    CHECK_EQ(code, 42);
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_STOPPED);
    CHECK_RC(troupe_process_terminate(p), 0);
    troupe_process_free(p);
}

static void
reap_all(int signo)
{
    int saved = errno;

    (void)signo;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

TEST(host_with_a_handler_that_reaps_everything)
{
    struct sigaction action = {.sa_handler = reap_all};
    troupe_process *p[20];
    unsigned i;

    CHECK_EQ(sigaction(SIGCHLD, &action, NULL), 0);
    for (i = 0; i < 20; i++)
        p[i] = process_start(child_returns, NUMBER(i));
    for (i = 0; i < 20; i++)
        CHECK_EQ(process_finish(p[i]), (int)i);
    CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

TEST(host_that_ignores_sigchld)
{
    troupe_process *p[20];
    unsigned i;

    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    for (i = 0; i < 20; i++)
        p[i] = process_start(child_returns, NUMBER(i));
    for (i = 0; i < 20; i++)
        CHECK_EQ(process_finish(p[i]), (int)i);
    CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

TEST(host_children_are_not_touched)
{
    pid_t theirs = fork_raw();
    troupe_process **list;
    siginfo_t info;
    size_t count;

    if (theirs == 0)
        _exit(11);
    CHECK_EQ(waitid(P_PID, (id_t)theirs, &info, WEXITED | WNOWAIT), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(1))), 1);
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    troupe_process_list_free(list);
    CHECK_EQ(wait_raw(theirs), 11);
}

static volatile sig_atomic_t signals;

static void
count_signal(int signo)
{
    (void)signo;
    signals = signals + 1;
}

/* Interrupts the joining thread until it has been seen to. */
static int
child_pokes_its_parent(void *arg)
{
    pid_t parent = getppid();
    int i;

    (void)arg;
    for (i = 0; i < 200; i++)
        CHECK_EQ(kill(parent, SIGUSR1), 0);
    return 6;
}

TEST(join_goes_on_after_signals)
{
    struct sigaction action = {.sa_handler = count_signal};

    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(process_finish(process_start(child_pokes_its_parent, NULL)), 6);
    CHECK_GT((int)signals, 0);
}

static int
child_shows_its_mask(void *unused)
{
    sigset_t mask;

    (void)unused;
    CHECK_EQ(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGUSR2), 1);
    CHECK_EQ(sigismember(&mask, SIGTERM), 0);
    return 0;
}

TEST(child_inherits_the_mask)
{
    sigset_t set;

    CHECK_EQ(sigemptyset(&set), 0);
    CHECK_EQ(sigaddset(&set, SIGUSR2), 0);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_EQ(process_finish(process_start(child_shows_its_mask, NULL)), 0);
}

static void *
join_in_thread(void *process)
{
    CHECK_RC(troupe_process_join(process, TROUPE_FOREVER), 0);
    return NULL;
}

TEST(several_threads_join_one_process)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *p = process_start(child_waits, go);
    pthread_t threads[4];
    unsigned i;

    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, join_in_thread, p), 0);
    CHECK_RC(troupe_event_set(go), 0);
    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(process_finish(p), 0);
    CHECK_RC(troupe_free(go), 0);
}

static void *
start_in_thread(void *unused)
{
    unsigned i;

    (void)unused;
    for (i = 0; i < 25; i++)
        CHECK_EQ(process_finish(process_start(child_returns, NUMBER(i))),
                 (int)i);
    return NULL;
}

TEST(several_threads_start_processes)
{
    pthread_t threads[4];
    troupe_process **list;
    size_t count;
    unsigned i;

    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, start_in_thread, NULL), 0);
    for (i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 0u);
    troupe_process_list_free(list);
}

TEST_TIMEOUT(hundred_processes_at_once, 60)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *p[100];
    unsigned i;

    for (i = 0; i < 100; i++)
        p[i] = process_start(child_waits, go);
    CHECK_RC(troupe_event_set(go), 0);
    for (i = 0; i < 100; i++)
        CHECK_EQ(process_finish(p[i]), 0);
    for (i = 0; i < 100; i++)
        p[i] = process_start(child_sleeps, NULL);
    for (i = 0; i < 100; i++)
        CHECK_RC(troupe_process_terminate(p[i]), 0);
    for (i = 0; i < 100; i++)
        CHECK_EQ(process_finish(p[i]), -SIGTERM);
    CHECK_RC(troupe_free(go), 0);
}

TEST_TIMEOUT(thousand_processes_one_after_the_other, 120)
{
    unsigned i;

    for (i = 0; i < 1000; i++)
        CHECK_EQ(process_finish(process_start(child_returns, NUMBER(i & 127))),
                 (int)(i & 127));
}

TEST_TIMEOUT(starts_reap_what_nobody_joins, 60)
{
    siginfo_t info;
    unsigned i;

    for (i = 0; i < 100; i++)
        troupe_process_free(process_start(child_returns, NULL));
    /* Nothing but further starts, until there is no child left. */
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        CHECK_EQ(process_finish(process_start(child_returns, NUMBER(3))), 3);
    CHECK_EQ(errno, ECHILD);
}

static int
child_forks_by_itself(void *unused)
{
    pid_t pid = fork_raw();

    (void)unused;
    if (pid == 0) {
        /* It is in the family, under a record of its own. */
        CHECK_STR(troupe_process_name(troupe_process_current()), "MainProcess");
        CHECK(troupe_process_parent() == NULL);
        CHECK_EQ(process_finish(process_start(child_returns, NUMBER(4))), 4);
        _exit(12);
    }
    CHECK_STR(troupe_process_name(troupe_process_current()), "Process-1");
    CHECK_EQ(wait_raw(pid), 12);
    return 13;
}

TEST(raw_fork_is_a_process_of_its_own)
{
    CHECK_EQ(process_finish(process_start(child_forks_by_itself, NULL)), 13);
}

/* The stops of a child that this process traces are its own to wait for. */
TEST(host_that_traces_its_child)
{
    troupe_process *p = process_start(child_sleeps, NULL);
    pid_t pid = troupe_process_pid(p);
    troupe_process **list;
    siginfo_t info;
    size_t count;
    int status;
    int code;

    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
        SKIP("no child can be traced here");
    CHECK_EQ(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
    CHECK_EQ(info.si_code, CLD_TRAPPED);
    CHECK(troupe_process_is_alive(p));
    CHECK_RC(troupe_process_exitcode(p, &code), -EAGAIN);
    CHECK_RC(troupe_process_join(p, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 1u);
    troupe_process_list_free(list);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_EQ(process_finish(p), -SIGTERM);
}
