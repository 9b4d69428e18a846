/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate at which a child waits for its parent: what can happen there.
 */
#include "helper.h"

#include "base/atomic.h"
#include "heap/member.h"
#include "os/fault.h"

#include <sched.h>
#include <sys/prctl.h>

struct scene {
    struct troupe__birth birth;
    troupe_event begun;
    int result;
};

static struct scene *scene;

/* Whether the child with this record sleeps at its gate. */
static bool
is_awaited(struct troupe__member_ref ref)
{
    return (troupe__load_acquire(&troupe__member_at(ref.number - 1)->gate) &
            3) == TROUPE__GATE_AWAITED;
}

/* The one child of this process. */
static pid_t
only_child(void)
{
    char path[64];
    char text[64] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children",
                   (int)gettid());
    file = fopen(path, "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof(text), file) != NULL);
    (void)fclose(file);
    CHECK_GT(atoi(text), 0);
    return (pid_t)atoi(text);
}

static void
wait_at_the_gate(void)
{
    scene->result = troupe__member_await(&scene->birth);
    CHECK_RC(troupe_event_set(&scene->begun), 0);
    _exit(0);
}

TEST(gate_child_sees_its_parent_die)
{
    pid_t parent;

    scene = SHARED(struct scene);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours */
    parent = fork_raw();
    if (parent == 0) {
        CHECK_RC(troupe__member_prepare("child", 0, &scene->birth), 0);
        if (fork_raw() == 0)
            wait_at_the_gate();
        while (!is_awaited(scene->birth.member))
            (void)sched_yield();
        (void)raise(SIGKILL);
    }
    CHECK_EQ(wait_raw(parent), -SIGKILL);
    CHECK_EQ(wait_raw(-1), 0);
    CHECK_RC(scene->result, -EPIPE);
    CHECK_RC(troupe_free(scene), 0);
}

TEST(gate_lets_a_sleeping_child_through)
{
    pid_t pid;

    scene = SHARED(struct scene);
    CHECK_RC(troupe__member_prepare("child", 0, &scene->birth), 0);
    pid = fork_raw();
    if (pid == 0)
        wait_at_the_gate();
    while (!is_awaited(scene->birth.member))
        (void)sched_yield();
    CHECK(!troupe_event_is_set(&scene->begun));
    troupe__member_started(scene->birth.member, pid);
    CHECK_EQ(wait_raw(pid), 0);
    CHECK_RC(scene->result, 0);
    troupe__member_ended(scene->birth.member);
    CHECK_RC(troupe_free(scene), 0);
}

static int
child_begins(void *unused)
{
    (void)unused;
    return troupe_event_set(&scene->begun);
}

/* Between fork and pidfd: the child must stand still. */
static int
watch_the_child(const char *call)
{
    struct troupe__member_ref ref;

    if (strcmp(call, "pidfd_open") != 0)
        return 0;
    /* Its record is the one after ours. */
    ref.number = (uint32_t)(troupe__member_here() - troupe__member_at(0)) + 2;
    while (!is_awaited(ref))
        (void)sched_yield();
    CHECK(!troupe_event_is_set(&scene->begun));
    scene->result = 1;
    return 0;
}

TEST(gate_is_closed_until_the_parent_has_the_pidfd)
{
    troupe_process *p;

    scene = SHARED(struct scene);
    p = process_new(child_begins, NULL, false);
    troupe__shim_fault = watch_the_child;
    CHECK_RC(troupe_process_start(p), 0);
    troupe__shim_fault = NULL;
    CHECK_EQ(scene->result, 1);
    CHECK_EQ(process_finish(p), 0);
    CHECK(troupe_event_is_set(&scene->begun));
    CHECK_RC(troupe_free(scene), 0);
}

/* Somebody kills the child at its gate, and the host reaps it. */
static int
kill_the_child(const char *call)
{
    pid_t pid;

    if (strcmp(call, "pidfd_open") != 0)
        return 0;
    pid = only_child();
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(wait_raw(pid), -SIGKILL);
    return 0;
}

/* And a stranger gets its number: a child of this one, which ends it when it is
 * told and looks whether anybody has done so before. */
static pid_t helper;
static int told[2];

static void
helper_runs(pid_t wanted, int ready)
{
    pid_t pid = 0;
    char text[16];
    char byte;
    int tries;
    int fd;

    (void)snprintf(text, sizeof(text), "%d", (int)wanted - 1);
    fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    /* Somebody else may have been faster; in the end that is a stranger too. */
    for (tries = 0; tries < 100 && pid != wanted; tries++) {
        if (pid != 0) {
            CHECK_EQ(kill(pid, SIGKILL), 0);
            CHECK_EQ(wait_raw(pid), -SIGKILL);
        }
        CHECK_EQ(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
        pid = fork_raw();
        if (pid == 0)
            child_sleeps(NULL);
    }
    CHECK_EQ(write(ready, "r", 1), 1);
    CHECK_EQ(read(told[0], &byte, 1), 1);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(wait_raw(pid), -SIGKILL);
    _exit(0);
}

static int
replace_the_child(const char *call)
{
    int ready[2];
    char byte;
    pid_t pid;

    if (strcmp(call, "pidfd_open") != 0)
        return 0;
    pid = only_child();
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(wait_raw(pid), -SIGKILL);
    CHECK_EQ(pipe2(told, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
    helper = fork_raw();
    if (helper == 0)
        helper_runs(pid, ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_EQ(close(ready[0]), 0);
    CHECK_EQ(close(ready[1]), 0);
    return 0;
}

TEST(gate_child_whose_number_is_a_strangers)
{
    troupe_process *p = NULL;
    troupe_queue *queue = NULL;
    size_t size = 1;
    char byte;
    int code;

    scene = SHARED(struct scene);
    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = child_begins,
                                                   .produces = &queue,
                                                   .produces_count = 1)),
             0);
    troupe__shim_fault = replace_the_child;
    CHECK_RC(troupe_process_start(p), 0);
    troupe__shim_fault = NULL;
    /* What it was declared for has gone with it, while the stranger lives. */
    CHECK_RC(troupe_queue_get(queue, &byte, &size, TROUPE_NOW), -EPIPE);
    troupe_queue_free(queue);
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &code), 0);
    CHECK_EQ(code, TROUPE_EXIT_UNKNOWN);
    CHECK_EQ(write(told[1], "e", 1), 1);
    CHECK_EQ(wait_raw(helper), 0);
    CHECK_EQ(close(told[0]), 0);
    CHECK_EQ(close(told[1]), 0);
    troupe_process_free(p);
    CHECK_RC(troupe_free(scene), 0);
}

TEST(gate_child_killed_and_reaped_by_others)
{
    troupe_process **list;
    troupe_process *p;
    size_t count;
    int code;
    int fd;

    scene = SHARED(struct scene);
    p = process_new(child_begins, NULL, true);
    troupe__shim_fault = kill_the_child;
    CHECK_RC(troupe_process_start(p), 0);
    troupe__shim_fault = NULL;
    CHECK(!troupe_event_is_set(&scene->begun));
    CHECK(!troupe_process_is_alive(p));
    CHECK_RC(troupe_process_sentinel(p, &fd), 0);
    CHECK(is_readable(fd));
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 0u);
    troupe_process_list_free(list);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &code), 0);
    CHECK_EQ(code, TROUPE_EXIT_UNKNOWN);
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_RC(troupe_process_close(p), 0);
    troupe_process_free(p);
    CHECK_RC(troupe_free(scene), 0);
}

/* A signal that comes to the whole group, while the child waits at its gate. */
static int
signal_the_child(const char *call)
{
    struct troupe__member_ref ref;

    if (strcmp(call, "pidfd_open") != 0)
        return 0;
    ref.number = (uint32_t)(troupe__member_here() - troupe__member_at(0)) + 2;
    while (!is_awaited(ref))
        (void)sched_yield();
    CHECK_EQ(kill(only_child(), SIGTERM), 0);
    return 0;
}

static void
stop_on_signal(int signo)
{
    (void)signo;
    CHECK_RC(troupe_process_stop(troupe_process_current()), 0);
}

static int
child_says_whether_to_stop(void *unused)
{
    (void)unused;
    return troupe_stop_requested() ? 35 : 1;
}

TEST(gate_child_that_gets_a_signal_makes_a_stop_of_it)
{
    struct sigaction action = {.sa_handler = stop_on_signal};
    troupe_process *p = process_new(child_says_whether_to_stop, NULL, false);

    CHECK_RC(troupe_stoppable_begin(), 0);
    troupe_stoppable_end();
    CHECK_EQ(sigaction(SIGTERM, &action, NULL), 0);
    troupe__shim_fault = signal_the_child;
    CHECK_RC(troupe_process_start(p), 0);
    troupe__shim_fault = NULL;
    CHECK_EQ(process_finish(p), 35);
    CHECK(!troupe_stop_requested());
}
