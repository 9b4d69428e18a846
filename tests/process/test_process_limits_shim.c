/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts that fail: nothing is left behind, and the handle is as before.
 */
#include "helper.h"

#include "os/fault.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static troupe_event *ran;

static int
child_shows_that_it_ran(void *unused)
{
    (void)unused;
    return troupe_event_set(ran);
}

/* Starting fails with the status, leaves no process, descriptor or state, and
 * its text names the stage. */
static void
check_failed_start(troupe_process *p, int status, const char *stage)
{
    unsigned fds = count_fds();
    troupe_process **list;
    siginfo_t info;
    size_t count;

    CHECK_RC(troupe_process_start(p), status);
    if (strstr(troupe_error_detail(), stage) == NULL)
        FAIL("'%s' does not name '%s'", troupe_error_detail(), stage);
    CHECK_EQ(count_fds(), fds);
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_INITIAL);
    CHECK_EQ(troupe_process_pid(p), 0);
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 0u);
    troupe_process_list_free(list);
    CHECK(!troupe_event_is_set(ran));
}

/* And then it can be started after all. */
static void
check_good_start(troupe_process *p)
{
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(process_finish(p), 0);
    CHECK(troupe_event_is_set(ran));
    CHECK_RC(troupe_free(ran), 0);
}

static const char *failing_call;
static int failing_errno;

static int
fail_call(const char *call)
{
    return strcmp(call, failing_call) == 0 ? failing_errno : 0;
}

static void
check_fault(const char *call, int error, bool daemon, const char *stage)
{
    troupe_process *p;

    ran = SHARED(troupe_event);
    p = process_new(child_shows_that_it_ran, NULL, daemon);
    failing_call = call;
    failing_errno = error;
    troupe__shim_fault = fail_call;
    check_failed_start(p, -error, stage);
    check_failed_start(p, -error, stage);
    troupe__shim_fault = NULL;
    check_good_start(p);
}

TEST(start_without_a_process)
{
    check_fault("fork", EAGAIN, false, "fork: ");
    check_fault("fork", ENOMEM, true, "fork: ");
}

TEST(start_without_a_pidfd)
{
    check_fault("pidfd_open", EMFILE, false, "pidfd_open: ");
    check_fault("pidfd_open", ENFILE, true, "pidfd_open: ");
    check_fault("pidfd_open", ENOMEM, false, "pidfd_open: ");
}

TEST(start_without_a_pipe)
{
    check_fault("pipe", EMFILE, true, "pipe");
}

TEST(start_with_all_descriptors_in_use)
{
    struct rlimit limit;
    struct rlimit low;
    troupe_process *p;
    unsigned i;

    ran = SHARED(troupe_event);
    p = process_new(child_shows_that_it_ran, NULL, false);
    /* The heap's descriptor is there; not one more is to be had. */
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    for (i = 0; fcntl((int)i, F_GETFD) >= 0; i++)
        ;
    low.rlim_cur = i;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    check_failed_start(p, -EMFILE, "pidfd_open: ");
    CHECK_RC(troupe_process_set_daemon(p, true), 0);
    check_failed_start(p, -EMFILE, "pipe");
    /* One descriptor is enough, but not for a daemon. */
    low.rlim_cur = i + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    check_failed_start(p, -EMFILE, "pipe");
    CHECK_RC(troupe_process_set_daemon(p, false), 0);
    check_good_start(p);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* An ordinary user at the limit of processes, as a test run by root. */
static void
as_nobody(void)
{
    struct rlimit limit = {1, 1000};
    troupe_process *p;

    CHECK_EQ(setgroups(0, NULL), 0);
    CHECK_EQ(setgid(65534), 0);
    CHECK_EQ(setuid(65534), 0);
    ran = SHARED(troupe_event);
    p = process_new(child_shows_that_it_ran, NULL, true);
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
    check_failed_start(p, -EAGAIN,
                       "fork: Resource temporarily unavailable (RLIMIT_NPROC "
                       "is 1)");
    limit.rlim_cur = 1000;
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
    check_good_start(p);
}

TEST(start_beyond_the_users_limit_of_processes)
{
    pid_t pid;

    if (geteuid() != 0)
        SKIP("only root can become an ordinary user");
    pid = fork_raw();
    if (pid == 0) {
        as_nobody();
        _exit(0);
    }
    CHECK_EQ(wait_raw(pid), 0);
}

/* Without the kernel's memory of exit codes the child's own record has to
 * do. */
static void
check_reaped_by_host(int (*target)(void *), void *arg, int code)
{
    troupe_process *p = process_start(target, arg);
    int got;

    failing_call = "pidfd_get_info";
    failing_errno = ENOTTY;
    troupe__shim_fault = fail_call;
    (void)wait_raw(troupe_process_pid(p));
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &got), 0);
    CHECK_EQ(got, code);
    troupe__shim_fault = NULL;
    troupe_process_free(p);
}

static int
child_is_killed(void *unused)
{
    (void)unused;
    return raise(SIGKILL);
}

static int
child_leaves(void *unused)
{
    (void)unused;
    _exit(3);
}

static int
child_is_killed_by_its_output(void *unused)
{
    int ends[2];

    (void)unused;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(close(ends[0]), 0);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    (void)printf("lost");
    return 0;
}

TEST(exit_code_of_a_child_that_the_host_reaped)
{
    char text[128];
    troupe_process *p;

    check_reaped_by_host(child_returns, NUMBER(0), 0);
    check_reaped_by_host(child_returns, NUMBER(42), 42);
    check_reaped_by_host(child_is_killed, NULL, TROUPE_EXIT_UNKNOWN);
    check_reaped_by_host(child_leaves, NULL, TROUPE_EXIT_UNKNOWN);
    check_reaped_by_host(child_is_killed_by_its_output, NULL,
                         TROUPE_EXIT_UNKNOWN);
    /* Others have recovered its record in the meantime. */
    p = process_start(child_returns, NUMBER(7));
    failing_call = "pidfd_get_info";
    failing_errno = ENOTTY;
    (void)wait_raw(troupe_process_pid(p));
    troupe__shim_fault = fail_call;
    CHECK(!troupe_process_is_alive(p));
    (void)troupe_process_format(p, text, sizeof(text));
    troupe__shim_fault = NULL;
    CHECK(strstr(text, "exitcode=7>") != NULL);
    CHECK_EQ(process_finish(p), 7);
}

TEST(exit_code_that_nobody_knows_is_printed_so)
{
    char text[128];
    troupe_process *p = process_start(child_is_killed, NULL);

    failing_call = "pidfd_get_info";
    failing_errno = ENOTTY;
    troupe__shim_fault = fail_call;
    (void)wait_raw(troupe_process_pid(p));
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    (void)troupe_process_format(p, text, sizeof(text));
    troupe__shim_fault = NULL;
    CHECK(strstr(text, " stopped exitcode=unknown>") != NULL);
    troupe_process_free(p);
}

/* In place of the C library's: one that may have no room for a handler. */
static bool no_room;

static void
call_handler(int status, void *handler)
{
    (void)status;
    ((void (*)(void))(uintptr_t)handler)();
}

int
atexit(void (*handler)(void))
{
    return no_room ? -1 : on_exit(call_handler, (void *)(uintptr_t)handler);
}

TEST(process_is_not_made_without_its_exit_handler)
{
    troupe_process *p = NULL;
    unsigned i;

    no_room = true;
    for (i = 0; i < 2; i++) {
        CHECK_RC(troupe_process_new(&p, NULL), -ENOMEM);
        CHECK(p == NULL);
    }
    no_room = false;
    CHECK_RC(troupe_process_new(&p, NULL), 0);
    troupe_process_free(p);
}

/* One that counts how often a certain descriptor is closed. */
static int watched = -1;
static unsigned closed;

int
close(int fd)
{
    if (fd == watched)
        closed++;
    return (int)syscall(SYS_close, fd);
}

TEST(passed_descriptor_is_closed_once)
{
    troupe_process *p;
    int ends[2];
    int twice[3];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    twice[0] = ends[1];
    twice[1] = ends[0];
    twice[2] = ends[1];
    CHECK_RC(
        troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .pass = twice, .pass_count = 3)),
        0);
    watched = ends[1];
    CHECK_RC(troupe_process_start(p), 0);
    watched = -1;
    CHECK_EQ(closed, 1u);
    CHECK_EQ(process_finish(p), 0);
}

static bool asked;

/* While the lock of the processes is held, as it can be when a signal comes. */
static int
ask_who_we_are(const char *call)
{
    if (strcmp(call, "pipe") == 0) {
        asked = true;
        CHECK_STR(troupe_process_name(troupe_process_current()), "MainProcess");
        CHECK_RC(troupe_process_stop(troupe_process_current()), 0);
    }
    return 0;
}

TEST(current_process_can_be_asked_for_in_a_signal_handler)
{
    troupe_process *p;

    p = process_new(child_returns, NUMBER(0), true);
    CHECK_RC(troupe_stoppable_begin(), 0);
    troupe_stoppable_end();
    troupe__shim_fault = ask_who_we_are;
    CHECK_RC(troupe_process_start(p), 0);
    troupe__shim_fault = NULL;
    CHECK(asked);
    CHECK(troupe_stop_requested());
    CHECK_EQ(process_finish(p), 0);
}
