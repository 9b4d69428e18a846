/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a process: made, started, joined, asked about, closed.
 */
#include "helper.h"

#include <sys/prctl.h>

TEST(process_returns_its_targets_value)
{
    troupe_process *p = process_new(child_returns, NUMBER(8), false);
    int code = -1;

    CHECK_RC(troupe_process_exitcode(p, &code), -EAGAIN);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_exitcode(p, &code), 0);
    CHECK_EQ(code, 8);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_NOW), 0);
    troupe_process_free(p);
}

static int
child_exits(void *number)
{
    exit(OF(number));
}

static int
child_troupe_exits(void *number)
{
    troupe_exit(OF(number));
}

static int
child_leaves(void *number)
{
    _exit(OF(number));
}

static int
child_kills_itself(void *signo)
{
    (void)signal(OF(signo), SIG_DFL);
    (void)raise(OF(signo));
    return 0;
}

static int
child_aborts(void *unused)
{
    (void)unused;
    (void)signal(SIGABRT, SIG_DFL);
    abort();
}

TEST(process_exit_codes)
{
    CHECK_EQ(process_finish(process_start(NULL, NULL)), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(0))), 0);
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(256 + 3))), 3);
    CHECK_EQ(process_finish(process_start(child_returns, NUMBER(-1))), 255);
    CHECK_EQ(process_finish(process_start(child_exits, NUMBER(8))), 8);
    CHECK_EQ(process_finish(process_start(child_exits, NUMBER(256 + 3))), 3);
    CHECK_EQ(process_finish(process_start(child_troupe_exits, NUMBER(9))), 9);
    CHECK_EQ(process_finish(process_start(child_leaves, NUMBER(7))), 7);
    CHECK_EQ(process_finish(process_start(child_kills_itself, NUMBER(SIGTERM))),
             -SIGTERM);
    CHECK_EQ(process_finish(process_start(child_kills_itself, NUMBER(SIGSEGV))),
             -SIGSEGV);
    CHECK_EQ(process_finish(process_start(child_aborts, NULL)), -SIGABRT);
}

TEST(process_terminate_and_kill)
{
    troupe_process *p = process_start(child_sleeps, NULL);

    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_EQ(process_finish(p), -SIGTERM);
    p = process_start(child_sleeps, NULL);
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    /* Of one that has ended: nothing. */
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_EQ(process_finish(p), -SIGKILL);
}

TEST(process_unstarted_refuses)
{
    troupe_process *p = process_new(child_returns, NULL, false);
    int value = 17;

    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), -ESRCH);
    CHECK_RC(troupe_process_terminate(p), -ESRCH);
    CHECK_RC(troupe_process_kill(p), -ESRCH);
    CHECK_RC(troupe_process_stop(p), -ESRCH);
    CHECK_RC(troupe_process_sentinel(p, &value), -ESRCH);
    CHECK_RC(troupe_process_exitcode(p, &value), -EAGAIN);
    CHECK_EQ(value, 17);
    CHECK_EQ(troupe_process_pid(p), 0);
    CHECK(!troupe_process_is_alive(p));
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_INITIAL);
    CHECK_RC(troupe_process_close(p), 0);
    CHECK_RC(troupe_process_start(p), -ESHUTDOWN);
    troupe_process_free(p);
}

TEST(process_starts_only_once)
{
    troupe_process *p = process_start(child_returns, NULL);

    CHECK_RC(troupe_process_start(p), -EBUSY);
    CHECK(strstr(troupe_error_detail(), "twice") != NULL);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_start(p), -EBUSY);
    troupe_process_free(p);
}

TEST(process_join_with_a_deadline)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *p = process_start(child_waits, go);
    int64_t before;

    CHECK_RC(troupe_process_join(p, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_process_join(p, troupe_after(-1)), -ETIMEDOUT);
    CHECK_RC(troupe_process_join(p, -5), -ETIMEDOUT);
    before = troupe_clock();
    CHECK_RC(troupe_process_join(p, before + 30000000), -ETIMEDOUT);
    CHECK_GE(troupe_clock() - before, 30000000);
    CHECK(troupe_process_is_alive(p));
    CHECK_RC(troupe_event_set(go), 0);
    CHECK_EQ(process_finish(p), 0);
    CHECK_RC(troupe_free(go), 0);
}

TEST(process_waits_on_under_a_storm_of_signals)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_deadline deadline;
    troupe_process *p;

    harness_storm(500);
    p = process_start(child_waits, go);
    deadline = troupe_after(0.1);
    CHECK_RC(troupe_process_join(p, deadline), -ETIMEDOUT);
    CHECK_GE(troupe_clock(), deadline);
    CHECK_RC(troupe_event_set(go), 0);
    CHECK_EQ(process_finish(p), 0);
    p = process_start(child_sleeps, NULL);
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_EQ(process_finish(p), -SIGTERM);
    harness_storm(0);
    CHECK_GT(harness_storm_signals(), 0u);
    CHECK_RC(troupe_free(go), 0);
}

TEST(process_states_and_sentinel)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *p = process_start(child_waits, go);
    int fd;

    CHECK_RC(troupe_process_sentinel(p, &fd), 0);
    CHECK(!is_readable(fd));
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_STARTED);
    CHECK(troupe_process_is_alive(p));
    CHECK_GT(troupe_process_pid(p), 0);
    CHECK_RC(troupe_event_set(go), 0);
    await_readable(fd);
    CHECK(!troupe_process_is_alive(p));
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_STOPPED);
    /* It stays what it is. */
    CHECK_RC(troupe_process_sentinel(p, &fd), 0);
    CHECK(is_readable(fd));
    troupe_process_free(p);
    CHECK_RC(troupe_free(go), 0);
}

TEST(process_close_rules)
{
    troupe_process *p = process_start(child_sleeps, NULL);
    char text[128];
    char expected[128];
    int value = 17;

    CHECK_RC(troupe_process_close(p), -EBUSY);
    CHECK_RC(troupe_process_kill(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_close(p), 0);
    CHECK_RC(troupe_process_close(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_NOW), -ESHUTDOWN);
    CHECK_RC(troupe_process_terminate(p), -ESHUTDOWN);
    CHECK_RC(troupe_process_kill(p), -ESHUTDOWN);
    CHECK_RC(troupe_process_stop(p), -ESHUTDOWN);
    CHECK_RC(troupe_process_exitcode(p, &value), -ESHUTDOWN);
    CHECK_RC(troupe_process_sentinel(p, &value), -ESHUTDOWN);
    CHECK_RC(troupe_process_set_daemon(p, true), -ESHUTDOWN);
    CHECK_RC(troupe_process_start(p), -ESHUTDOWN);
    CHECK_EQ(value, 17);
    CHECK_EQ(troupe_process_pid(p), 0);
    CHECK(!troupe_process_is_alive(p));
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_CLOSED);
    CHECK_STR(troupe_process_name(p), "Process-1");
    (void)snprintf(expected, sizeof(expected),
                   "<Process name='Process-1' parent=%d closed>",
                   (int)getpid());
    (void)troupe_process_format(p, text, sizeof(text));
    CHECK_STR(text, expected);
    troupe_process_free(p);
}

TEST(process_null_and_bad_options)
{
    troupe_process *p = (troupe_process *)NUMBER(1);
    int bad = -1;
    int value;

    CHECK_RC(troupe_process_new(NULL, NULL), -EINVAL);
    CHECK_RC(troupe_process_start(NULL), -EINVAL);
    CHECK_RC(troupe_process_join(NULL, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_process_terminate(NULL), -EINVAL);
    CHECK_RC(troupe_process_kill(NULL), -EINVAL);
    CHECK_RC(troupe_process_stop(NULL), -EINVAL);
    CHECK_RC(troupe_process_close(NULL), -EINVAL);
    CHECK_RC(troupe_process_exitcode(NULL, &value), -EINVAL);
    CHECK_RC(troupe_process_sentinel(NULL, &value), -EINVAL);
    CHECK_RC(troupe_process_set_name(NULL, "x"), -EINVAL);
    CHECK_RC(troupe_process_set_daemon(NULL, true), -EINVAL);
    CHECK_RC(troupe_process_set_user(NULL, NULL), -EINVAL);
    CHECK_RC(troupe_process_active_children(NULL, NULL), -EINVAL);
    CHECK(!troupe_process_is_alive(NULL));
    CHECK(!troupe_process_daemon(NULL));
    CHECK(troupe_process_user(NULL) == NULL);
    CHECK_EQ(troupe_process_pid(NULL), 0);
    CHECK_STR(troupe_process_name(NULL), "");
    CHECK_EQ((int)troupe_process_state(NULL), (int)TROUPE_PROCESS_UNKNOWN);
    troupe_process_free(NULL);
    troupe_process_list_free(NULL);

    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options, .arg_size = 4)),
             -EINVAL);
    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options, .pass_count = 1)),
             -EINVAL);
    CHECK_RC(
        troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                              .pass = &bad, .pass_count = 1)),
        -EINVAL);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .produces_count = 1)),
             -EINVAL);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .consumes_count = 1)),
             -EINVAL);
    CHECK_RC(
        troupe_process_new(
            &p, TROUPE_OPTIONS(troupe_process_options,
                               .start_method = (enum troupe_start_method)77)),
        -EINVAL);
    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options,
                                    .start_method = TROUPE_START_SPAWN)),
             -ENOTSUP);
    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options, .reserved_ = {1})),
             -E2BIG);
    /* Nothing was touched. */
    CHECK(p == (troupe_process *)NUMBER(1));
    CHECK_RC(troupe_process_new(&p, NULL), 0);
    CHECK_RC(troupe_process_exitcode(p, NULL), -EINVAL);
    CHECK_RC(troupe_process_sentinel(p, NULL), -EINVAL);
    CHECK_RC(troupe_process_set_name(p, NULL), -EINVAL);
    troupe_process_free(p);
}

struct message {
    int numbers[3];
    char text[20];
};

static int
child_checks_message(void *arg)
{
    struct message *m = arg;

    CHECK_EQ((uintptr_t)arg % 16, 0u);
    CHECK_STR(m->text, "before");
    return m->numbers[0] + m->numbers[1] + m->numbers[2];
}

TEST(process_copies_its_argument)
{
    troupe_process *p;
    struct message *m = malloc(sizeof(*m));

    CHECK(m != NULL);
    *m = (struct message){{1, 2, 4}, "before"};
    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options,
                                    .target = child_checks_message, .arg = m,
                                    .arg_size = sizeof(*m))),
             0);
    memset(m, 0xff, sizeof(*m));
    free(m);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(process_finish(p), 7);
}

static int
child_names_its_children(void *unused)
{
    troupe_process *a = process_new(NULL, NULL, false);
    troupe_process *b = process_new(NULL, NULL, false);

    (void)unused;
    CHECK_STR(troupe_process_name(troupe_process_current()), "Process-2");
    CHECK_STR(troupe_process_name(a), "Process-2:1");
    CHECK_STR(troupe_process_name(b), "Process-2:2");
    troupe_process_free(a);
    troupe_process_free(b);
    return 0;
}

TEST(process_default_names)
{
    troupe_process *a = process_new(NULL, NULL, false);
    troupe_process *b = process_new(child_names_its_children, NULL, false);
    troupe_process *c;
    troupe_process *d;

    /* One with a name counts too. */
    CHECK_RC(troupe_process_new(
                 &c, TROUPE_OPTIONS(troupe_process_options, .name = "worker")),
             0);
    d = process_new(NULL, NULL, false);
    CHECK_STR(troupe_process_name(a), "Process-1");
    CHECK_STR(troupe_process_name(b), "Process-2");
    CHECK_STR(troupe_process_name(c), "worker");
    CHECK_STR(troupe_process_name(d), "Process-4");
    CHECK_RC(troupe_process_start(b), 0);
    CHECK_EQ(process_finish(b), 0);
    troupe_process_free(a);
    troupe_process_free(c);
    troupe_process_free(d);
}

struct seen {
    char name[80];
    char comm[32];
    pid_t pid;
    pid_t parent;
    int user;
    bool daemon;
};

static int
child_looks_around(void *arg)
{
    struct seen *seen = arg;
    troupe_process *me = troupe_process_current();
    FILE *file = fopen("/proc/self/comm", "re");

    CHECK(file != NULL);
    CHECK(fgets(seen->comm, sizeof(seen->comm), file) != NULL);
    (void)fclose(file);
    (void)snprintf(seen->name, sizeof(seen->name), "%s",
                   troupe_process_name(me));
    seen->pid = troupe_process_pid(me);
    seen->parent = troupe_process_pid(troupe_process_parent());
    seen->user = *(int *)troupe_process_user(me);
    seen->daemon = troupe_process_daemon(me);
    CHECK(troupe_process_is_alive(me));
    CHECK_EQ((int)troupe_process_state(me), (int)TROUPE_PROCESS_STARTED);
    CHECK_EQ(seen->pid, getpid());
    CHECK_RC(troupe_process_join(me, TROUPE_FOREVER), -ECHILD);
    CHECK_RC(troupe_process_terminate(me), -ECHILD);
    CHECK_RC(troupe_process_close(me), -EBUSY);
    CHECK_RC(troupe_process_start(me), -EBUSY);
    CHECK_RC(troupe_process_set_daemon(me, true), -EBUSY);
    troupe_process_free(me); /* nothing happens */
    CHECK_STR(troupe_process_name(troupe_process_current()), seen->name);
    CHECK_RC(troupe_process_set_name(me, "another"), 0);
    CHECK_STR(troupe_process_name(me), "another");
    return 0;
}

TEST(process_knows_itself_and_its_parent)
{
    struct seen *seen = SHARED(struct seen);
    int number = 5;
    troupe_process *p;

    CHECK_STR(troupe_process_name(troupe_process_current()), "MainProcess");
    CHECK(troupe_process_parent() == NULL);
    CHECK_EQ(troupe_process_pid(troupe_process_current()), getpid());
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = child_looks_around,
                                                   .arg = seen, .user = &number,
                                                   .name = "the child",
                                                   .daemon = true)),
             0);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_process_join(p, TROUPE_FOREVER), 0);
    CHECK_EQ(seen->pid, troupe_process_pid(p));
    CHECK_EQ(seen->parent, getpid());
    CHECK_STR(seen->name, "the child");
    CHECK_STR(seen->comm, "the child\n");
    CHECK_EQ(seen->user, 5);
    CHECK(seen->daemon);
    /* What the child did to its name is its own. */
    CHECK_STR(troupe_process_name(p), "the child");
    CHECK_EQ(process_finish(p), 0);
    CHECK_RC(troupe_free(seen), 0);
}

TEST(process_names_stay_readable)
{
    troupe_process *p = process_new(NULL, NULL, false);
    const char *first = troupe_process_name(p);
    char *heap_name = strdup("second");

    CHECK_RC(troupe_process_set_name(p, heap_name), 0);
    free(heap_name);
    CHECK_STR(troupe_process_name(p), "second");
    CHECK_STR(first, "Process-1");
    troupe_process_free(p);
}

TEST(process_daemon_flag_is_fixed_at_the_start)
{
    troupe_process *p = process_new(child_returns, NULL, false);

    CHECK(!troupe_process_daemon(p));
    CHECK_RC(troupe_process_set_daemon(p, true), 0);
    CHECK(troupe_process_daemon(p));
    CHECK_RC(troupe_process_set_daemon(p, false), 0);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_process_set_daemon(p, true), -EBUSY);
    CHECK_EQ(process_finish(p), 0);
}

TEST(process_active_children)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *a = process_new(child_waits, go, false);
    troupe_process *b = process_new(child_waits, go, false);
    troupe_process **list;
    troupe_process **other;
    size_t count = 99;

    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 0u);
    CHECK(list[0] == NULL);
    troupe_process_list_free(list);
    CHECK_RC(troupe_process_start(b), 0);
    CHECK_RC(troupe_process_start(a), 0);
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_RC(troupe_process_active_children(&other, NULL), 0);
    CHECK_EQ(count, 2u);
    CHECK(list != other);
    CHECK(list[0] == b && list[1] == a && list[2] == NULL);
    CHECK(other[0] == b && other[1] == a && other[2] == NULL);
    troupe_process_list_free(other);
    CHECK_RC(troupe_event_set(go), 0);
    CHECK_RC(troupe_process_join(a, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_join(b, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_active_children(&other, &count), 0);
    CHECK_EQ(count, 0u);
    troupe_process_list_free(other);
    /* The old list keeps its handles good. */
    troupe_process_free(a);
    troupe_process_free(b);
    CHECK_STR(troupe_process_name(list[0]), "Process-2");
    troupe_process_list_free(list);
    CHECK_RC(troupe_free(go), 0);
}

TEST(process_freed_while_it_runs_stays_a_child)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process **list;
    size_t count;
    unsigned i;

    for (i = 0; i < 5; i++)
        troupe_process_free(process_start(child_waits, go));
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 5u);
    CHECK_RC(troupe_event_set(go), 0);
    for (i = 0; i < count; i++)
        CHECK_RC(troupe_process_join(list[i], TROUPE_FOREVER), 0);
    troupe_process_list_free(list);
    CHECK_RC(troupe_free(go), 0);
}

static int
child_reads_stdin(void *expected)
{
    char byte;
    int got = (int)read(STDIN_FILENO, &byte, 1);

    CHECK_EQ(got, OF(expected));
    if (got == 0)
        CHECK_EQ(getc(stdin), EOF);
    return got == 1 ? byte : 0;
}

TEST(process_stdin_is_dev_null_unless_kept)
{
    troupe_process *p;
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(process_finish(process_start(child_reads_stdin, NUMBER(0))), 0);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = child_reads_stdin,
                                                   .arg = NUMBER(1),
                                                   .keep_stdin = true)),
             0);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_EQ(process_finish(p), 'a');
}

TEST(process_does_not_get_what_its_parent_has_read_ahead)
{
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(getc(stdin), 'a');
    CHECK_EQ(process_finish(process_start(child_reads_stdin, NUMBER(0))), 0);
    CHECK_EQ(getc(stdin), 'b');
}

static int
child_writes(void *fd)
{
    return write(OF(fd), "x", 1) == 1 ? 0 : 1;
}

TEST(process_pass_hands_a_descriptor_over)
{
    troupe_process *p;
    char byte;
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = child_writes,
                                                   .arg = NUMBER(ends[1]),
                                                   .pass = &ends[1],
                                                   .pass_count = 1)),
             0);
    CHECK_RC(troupe_process_start(p), 0);
    /* Ours is closed, so the end of the file comes when the child ends. */
    CHECK_EQ(fcntl(ends[1], F_GETFD), -1);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    CHECK_EQ(process_finish(p), 0);

    /* A descriptor that is not open: nothing happens. */
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .pass = &ends[1],
                                                   .pass_count = 1)),
             0);
    CHECK_RC(troupe_process_start(p), -EBADF);
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_INITIAL);
    troupe_process_free(p);
    CHECK_EQ(close(ends[0]), 0);
}

static int
child_uses_siblings(void *arg)
{
    troupe_process *sibling = arg;
    char text[128];
    char expected[128];
    int value = 17;

    CHECK_RC(troupe_process_join(sibling, TROUPE_NOW), -ECHILD);
    CHECK_RC(troupe_process_terminate(sibling), -ECHILD);
    CHECK_RC(troupe_process_kill(sibling), -ECHILD);
    CHECK_RC(troupe_process_stop(sibling), -ECHILD);
    CHECK_RC(troupe_process_exitcode(sibling, &value), -ECHILD);
    CHECK_RC(troupe_process_sentinel(sibling, &value), -ECHILD);
    CHECK_RC(troupe_process_close(sibling), -ECHILD);
    CHECK_RC(troupe_process_start(sibling), -EXDEV);
    CHECK_EQ(value, 17);
    CHECK(!troupe_process_is_alive(sibling));
    CHECK_EQ((int)troupe_process_state(sibling), (int)TROUPE_PROCESS_UNKNOWN);
    CHECK_STR(troupe_process_name(sibling), "Process-1");
    (void)snprintf(expected, sizeof(expected),
                   "<Process name='Process-1' pid=%d parent=%d unknown>",
                   (int)troupe_process_pid(sibling), (int)getppid());
    (void)troupe_process_format(sibling, text, sizeof(text));
    CHECK_STR(text, expected);
    troupe_process_free(sibling);
    return 0;
}

static int
child_cannot_start(void *arg)
{
    CHECK_RC(troupe_process_start(arg), -EXDEV);
    CHECK_RC(troupe_process_join(arg, TROUPE_NOW), -ECHILD);
    return 0;
}

TEST(process_handles_are_of_no_use_in_another_process)
{
    troupe_process *sibling = process_start(child_sleeps, NULL);
    troupe_process *unstarted = process_new(NULL, NULL, false);
    troupe_process *p = process_start(child_uses_siblings, sibling);

    CHECK_EQ(process_finish(p), 0);
    CHECK_EQ(process_finish(process_start(child_cannot_start, unstarted)), 0);
    /* Nothing of that has reached the sibling. */
    CHECK(troupe_process_is_alive(sibling));
    CHECK_RC(troupe_process_kill(sibling), 0);
    CHECK_EQ(process_finish(sibling), -SIGKILL);
    troupe_process_free(unstarted);
}

static int
child_has_no_children(void *unused)
{
    troupe_process **list;
    size_t count;

    (void)unused;
    CHECK_RC(troupe_process_active_children(&list, &count), 0);
    CHECK_EQ(count, 0u);
    troupe_process_list_free(list);
    return 0;
}

TEST(process_starts_with_no_children_of_its_own)
{
    troupe_process *sibling = process_start(child_sleeps, NULL);

    CHECK_EQ(process_finish(process_start(child_has_no_children, NULL)), 0);
    CHECK_RC(troupe_process_kill(sibling), 0);
    CHECK_EQ(process_finish(sibling), -SIGKILL);
}

TEST(process_buffers_are_written_before_the_start)
{
    char path[256];
    char text[64] = "";
    int saved;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/out", harness_tmpdir());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    (void)fflush(stdout);
    saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    CHECK_EQ(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    (void)printf("once ");
    CHECK_EQ(process_finish(process_start(child_returns, NULL)), 0);
    CHECK_EQ(process_finish(process_start(child_exits, NULL)), 0);
    (void)fflush(stdout);
    CHECK_EQ(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(close(saved), 0);
    CHECK_EQ(pread(fd, text, sizeof(text) - 1, 0), 5);
    CHECK_STR(text, "once ");
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(unlink(path), 0);
}

static int
child_prints(void *unused)
{
    (void)unused;
    (void)printf("from the child");
    return 0;
}

TEST(process_writes_its_own_output_at_its_end)
{
    char text[64] = "";
    int ends[2];
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    (void)fflush(stdout);
    CHECK_EQ(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(process_finish(process_start(child_prints, NULL)), 0);
    CHECK_EQ(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(read(ends[0], text, sizeof(text) - 1), 14);
    CHECK_STR(text, "from the child");
    CHECK_EQ(close(saved), 0);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

struct grand {
    troupe_event started;
    troupe_event go;
    pid_t pid;
};

static int
grandchild_holds_all(void *arg)
{
    struct grand *g = arg;

    CHECK_RC(troupe_event_set(&g->started), 0);
    CHECK_RC(troupe_event_wait(&g->go, TROUPE_FOREVER), 0);
    return 0;
}

static int
child_leaves_a_grandchild(void *arg)
{
    struct grand *g = arg;
    troupe_process *p = process_start(grandchild_holds_all, g);

    g->pid = troupe_process_pid(p);
    CHECK_RC(troupe_event_wait(&g->started, TROUPE_FOREVER), 0);
    _exit(3); /* without waiting for it */
}

TEST(process_join_is_not_delayed_by_a_grandchild)
{
    struct grand *g = SHARED(struct grand);
    troupe_process *p;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours */
    p = process_start(child_leaves_a_grandchild, g);
    CHECK_EQ(process_finish(p), 3);
    CHECK_EQ(waitpid(g->pid, NULL, WNOHANG), 0); /* it runs */
    CHECK_RC(troupe_event_set(&g->go), 0);
    CHECK_EQ(wait_raw(g->pid), 0);
    CHECK_RC(troupe_free(g), 0);
}

struct family_tree {
    troupe_event watching;
    pid_t parent_pid;
    char parent_name[64];
    bool was_alive;
    bool is_dead;
};

static int
grandchild_watches(void *arg)
{
    struct family_tree *t = arg;
    troupe_process *parent = troupe_process_parent();
    int fd;

    t->parent_pid = troupe_process_pid(parent);
    (void)snprintf(t->parent_name, sizeof(t->parent_name), "%s",
                   troupe_process_name(parent));
    t->was_alive = troupe_process_is_alive(parent);
    CHECK_RC(troupe_process_join(parent, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_process_sentinel(parent, &fd), 0);
    CHECK(!is_readable(fd));
    CHECK_RC(troupe_process_terminate(parent), -ECHILD);
    CHECK_RC(troupe_process_close(parent), -ECHILD);
    CHECK_RC(troupe_process_stop(parent), -ECHILD);
    CHECK_EQ((int)troupe_process_state(parent), (int)TROUPE_PROCESS_UNKNOWN);
    CHECK_RC(troupe_event_set(&t->watching), 0);
    CHECK_RC(troupe_process_join(parent, TROUPE_FOREVER), 0);
    CHECK(is_readable(fd));
    t->is_dead = !troupe_process_is_alive(parent);
    return 0;
}

static int
child_has_a_watcher(void *arg)
{
    troupe_process *p = process_start(grandchild_watches, arg);

    (void)p;
    return child_sleeps(NULL);
}

TEST(process_sees_its_parent_die)
{
    struct family_tree *t = SHARED(struct family_tree);
    troupe_process *p;
    pid_t pid;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours */
    CHECK_RC(
        troupe_process_new(
            &p, TROUPE_OPTIONS(troupe_process_options, .name = "the parent",
                               .target = child_has_a_watcher, .arg = t)),
        0);
    CHECK_RC(troupe_process_start(p), 0);
    pid = troupe_process_pid(p);
    CHECK_RC(troupe_event_wait(&t->watching, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_terminate(p), 0);
    CHECK_EQ(process_finish(p), -SIGTERM);
    CHECK_EQ(wait_raw(-1), 0);
    CHECK_EQ(t->parent_pid, pid);
    CHECK_STR(t->parent_name, "the parent");
    CHECK(t->was_alive);
    CHECK(t->is_dead);
}

static int
child_looks_at_its_parent(void *unused)
{
    (void)unused;
    harness_storm(100);
    for (int i = 0; i < 20000; i++)
        CHECK(troupe_process_is_alive(troupe_process_parent()));
    harness_storm(0);
    return 0;
}

TEST(process_that_is_interrupted_takes_nobody_for_dead)
{
    CHECK_EQ(process_finish(process_start(child_looks_at_its_parent, NULL)), 0);
}

TEST(process_list_may_be_freed_in_a_fork_child)
{
    troupe_event *go = SHARED(troupe_event);
    troupe_process *p = process_start(child_waits, go);
    troupe_process **list = NULL;
    pid_t pid;
    int status;

    CHECK_RC(troupe_process_active_children(&list, NULL), 0);
    pid = fork();
    if (pid == 0) {
        troupe_process_free(list[0]);
        troupe_process_list_free(list);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    troupe_process_list_free(list);
    CHECK_RC(troupe_event_set(go), 0);
    CHECK_EQ(process_finish(p), 0);
    CHECK_RC(troupe_free(go), 0);
}

TEST(process_user_pointer)
{
    int a;
    int b;
    troupe_process *p;

    CHECK_RC(troupe_process_new(
                 &p, TROUPE_OPTIONS(troupe_process_options, .user = &a)),
             0);
    CHECK(troupe_process_user(p) == &a);
    CHECK_RC(troupe_process_set_user(p, &b), 0);
    CHECK(troupe_process_user(p) == &b);
    troupe_process_free(p);
}

TEST(process_leaves_no_descriptor)
{
    unsigned before;
    unsigned i;

    /* The heap's descriptor comes with the first. */
    CHECK_EQ(process_finish(process_start(child_returns, NULL)), 0);
    before = count_fds();
    for (i = 0; i < 10; i++) {
        troupe_process *p = process_new(child_returns, NULL, i % 2 == 0);

        CHECK_RC(troupe_process_start(p), 0);
        CHECK_EQ(process_finish(p), 0);
    }
    CHECK_EQ(count_fds(), before);
}

static int
child_puts_three(void *queue)
{
    int i;

    for (i = 0; i < 3; i++)
        CHECK_RC(troupe_queue_put(queue, &i, sizeof(i), TROUPE_FOREVER), 0);
    return 0;
}

TEST(process_produces_a_stream_that_ends)
{
    troupe_process *producers[2];
    troupe_queue *queue;
    unsigned count = 0;
    size_t size;
    int item;
    int status;
    unsigned i;

    /* Both are announced: the first may be done before the second starts. */
    CHECK_RC(troupe_queue_new(
                 &queue, TROUPE_OPTIONS(troupe_queue_options, .producers = 2)),
             0);
    for (i = 0; i < 2; i++) {
        CHECK_RC(troupe_process_new(
                     &producers[i],
                     TROUPE_OPTIONS(troupe_process_options,
                                    .target = child_puts_three, .arg = queue,
                                    .produces = &queue, .produces_count = 1)),
                 0);
        CHECK_RC(troupe_process_start(producers[i]), 0);
    }
    for (;;) {
        size = sizeof(item);
        status = troupe_queue_get(queue, &item, &size, TROUPE_FOREVER);
        if (status < 0)
            break;
        count++;
    }
    CHECK_RC(status, -EPIPE);
    CHECK_EQ(count, 6u);
    for (i = 0; i < 2; i++)
        CHECK_EQ(process_finish(producers[i]), 0);
    troupe_queue_free(queue);
}

TEST(process_is_not_started_when_a_queue_refuses)
{
    troupe_process *p;
    troupe_queue *queues[2];
    unsigned before;
    size_t size = 0;

    CHECK_RC(troupe_queue_new(&queues[0], NULL), 0);
    CHECK_RC(troupe_queue_new(&queues[1], NULL), 0);
    CHECK_RC(troupe_queue_shutdown(queues[1]), 0);
    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .produces = queues,
                                                   .produces_count = 2)),
             0);
    before = count_fds();
    CHECK_RC(troupe_process_start(p), -ESHUTDOWN);
    CHECK(strstr(troupe_error_detail(), "produces") != NULL);
    CHECK_EQ(count_fds(), before);
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_INITIAL);
    /* The first one has forgotten the producer that never was. */
    CHECK_RC(troupe_queue_get(queues[0], NULL, &size, TROUPE_NOW), -EAGAIN);
    troupe_process_free(p);
    troupe_queue_free(queues[0]);
    troupe_queue_free(queues[1]);
}
