/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process: order, finalizers, who runs what.
 */
#include "helper.h"

#include "base/atomic.h"
#include "heap/directory.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

/* What happened, in order, by any process. */
struct record {
    uint32_t length;
    char text[252];
};

static struct record *record;

static void
note(const char *what)
{
    uint32_t size = (uint32_t)strlen(what);
    uint32_t at = __atomic_fetch_add(&record->length, size, __ATOMIC_SEQ_CST);

    CHECK_LT(at + size, sizeof(record->text));
    memcpy(record->text + at, what, size);
}

static void
note_it(void *what)
{
    note(what);
}

static void
add(const char *what, int priority)
{
    CHECK_RC(
        troupe_finalizer_add(note_it, (void *)(uintptr_t)what, priority, NULL),
        0);
}

/* Runs the target in a process, and compares what was noted. */
static void
expect(int (*target)(void *), int code, const char *text)
{
    record = SHARED(struct record);
    CHECK_EQ(process_finish(process_start(target, NULL)), code);
    CHECK_STR(record->text, text);
    CHECK_RC(troupe_free(record), 0);
}

static void
finalizer_adds_another(void *unused)
{
    (void)unused;
    note("n");
    add("N", 100);
    add("M", -100);
}

static int
child_adds_finalizers(void *unused)
{
    uint64_t cancelled;
    uint64_t called;

    (void)unused;
    add("e", -20);
    add("1", 0);
    add("2", 0);
    add("3", 0);
    add("a", 10);
    CHECK_RC(
        troupe_finalizer_add(note_it, (void *)(uintptr_t) "X", 5, &cancelled),
        0);
    CHECK_RC(troupe_finalizer_add(note_it, (void *)(uintptr_t) "c", 5, &called),
             0);
    CHECK_RC(troupe_finalizer_add(finalizer_adds_another, NULL, 3, NULL), 0);
    CHECK_RC(troupe_finalizer_cancel(cancelled), 0);
    CHECK_RC(troupe_finalizer_cancel(cancelled), -ENOENT);
    CHECK_RC(troupe_finalizer_call(called), 0);
    CHECK_RC(troupe_finalizer_call(called), -ENOENT);
    CHECK_RC(troupe_finalizer_cancel(12345678), -ENOENT);
    CHECK_RC(troupe_finalizer_add(NULL, NULL, 0, NULL), -EINVAL);
    note("|");
    return 4;
}

TEST(finalizers_run_by_priority_and_age)
{
    /* N, added with a high priority when that pass had begun, has its turn in
     * the last one. */
    expect(child_adds_finalizers, 4, "c|an321NeM");
}

static int
grandchild_notes(void *unused)
{
    (void)unused;
    note("g");
    return 0;
}

static int
child_leaves_children(void *unused)
{
    unsigned i;

    (void)unused;
    add("+", 1);
    add("-", -1);
    for (i = 0; i < 3; i++)
        troupe_process_free(process_start(grandchild_notes, NULL));
    return 0;
}

TEST(children_are_joined_between_the_finalizers)
{
    siginfo_t info;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    record = SHARED(struct record);
    CHECK_EQ(process_finish(process_start(child_leaves_children, NULL)), 0);
    /* The grandchildren note whenever they run, but before the last. */
    CHECK_EQ(record->length, 5u);
    CHECK_EQ(record->text[4], '-');
    CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_RC(troupe_free(record), 0);
}

static void
handler(void)
{
    note("h");
}

static void
parents_handler(void)
{
    if (record != NULL)
        note("P");
}

static int
child_exits_by_itself(void *unused)
{
    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    exit(5);
}

static int
child_exits_by_troupe(void *unused)
{
    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    troupe_exit(6);
}

static int
child_returns_with_handlers(void *unused)
{
    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    return 7;
}

static int
child_leaves_at_once(void *unused)
{
    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    _exit(8);
}

TEST(child_runs_its_own_handlers_and_not_its_parents)
{
    CHECK_EQ(atexit(parents_handler), 0);
    CHECK_RC(troupe_finalizer_add((void (*)(void *))(uintptr_t)parents_handler,
                                  NULL, 0, NULL),
             0);
    expect(child_exits_by_itself, 5, "hf");
    expect(child_exits_by_troupe, 6, "hf");
    expect(child_returns_with_handlers, 7, "hf");
    expect(child_leaves_at_once, 8, "");
    record = NULL;
}

static void
finalizer_exits(void *unused)
{
    (void)unused;
    note("x");
    exit(9);
}

static int
child_exits_in_a_finalizer(void *unused)
{
    (void)unused;
    CHECK_RC(troupe_finalizer_add(finalizer_exits, NULL, 0, NULL), 0);
    return 1;
}

/* The libc then goes on with the handlers that are left, and in the end with
 * the buffers of all streams: the parent's, both. */
TEST(exit_in_a_finalizer_ends_the_process)
{
    char text[32] = "";
    FILE *stream;
    int ends[2];

    CHECK_EQ(atexit(parents_handler), 0);
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    stream = fdopen(ends[1], "we");
    CHECK(stream != NULL);
    CHECK_GT(fputs("once", stream), 0);
    expect(child_exits_in_a_finalizer, 9, "x");
    record = NULL;
    CHECK_EQ(fclose(stream), 0);
    CHECK_EQ(read(ends[0], text, sizeof(text) - 1), 4);
    CHECK_EQ(close(ends[0]), 0);
}

/* A child that is started while its parent exits. */

static int
late_child(void *unused)
{
    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    return 3;
}

static void *
start_late(void *unused)
{
    CHECK_EQ(process_finish(process_start(late_child, NULL)), 3);
    note("|");
    return unused;
}

static void
finalizer_starts(void *in_thread)
{
    pthread_t thread;

    if (in_thread == NULL)
        (void)start_late(NULL);
    else {
        CHECK_EQ(pthread_create(&thread, NULL, start_late, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

static int
child_starts_in_a_finalizer(void *unused)
{
    (void)unused;
    CHECK_RC(troupe_finalizer_add(finalizer_starts, NULL, 2, NULL), 0);
    CHECK_RC(troupe_finalizer_add(finalizer_starts, &record, 1, NULL), 0);
    return 10;
}

TEST(child_of_an_exiting_process_does_not_need_exit)
{
    /* That of another thread than the exiting one does without the libc's exit,
     * which may be locked in it for ever; and so without handlers. */
    expect(child_starts_in_a_finalizer, 10, "hf|f|");
}

/* In a fork of its own a process runs nothing of another's. */
static int
child_forks_and_both_exit(void *unused)
{
    pid_t pid;

    (void)unused;
    add("f", 0);
    CHECK_EQ(atexit(handler), 0);
    pid = fork_raw();
    if (pid == 0)
        exit(3); /* the handler is its own too, as POSIX has it */
    CHECK_EQ(wait_raw(pid), 3);
    note("|");
    return 0;
}

TEST(raw_fork_does_not_run_the_exit_sequence)
{
    expect(child_forks_and_both_exit, 0, "h|hf");
}

static int
child_raw_fork_returns(void *unused)
{
    pid_t pid;

    (void)unused;
    add("f", 0);
    pid = fork_raw();
    if (pid == 0)
        return 3;
    CHECK_EQ(wait_raw(pid), 3);
    note("|");
    return 0;
}

TEST(raw_fork_that_returns_from_the_target_just_ends)
{
    expect(child_raw_fork_returns, 0, "|f");
}

/* The root in a process of its own, whose notes go to a pipe. */
static int note_fd;

static void
note_to_pipe(void *what)
{
    CHECK_EQ(write(note_fd, what, 1), 1);
}

static void
handler_to_pipe(void)
{
    CHECK_EQ(write(note_fd, "h", 1), 1);
}

static int
grandchild_notes_to_pipe(void *unused)
{
    note_to_pipe((void *)(uintptr_t) "g");
    return child_returns(unused);
}

TEST(root_sequence_in_order)
{
    char text[16] = "";
    int ends[2];
    pid_t root;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    note_fd = ends[1];
    root = fork_raw();
    if (root == 0) {
        pid_t raw;

        CHECK_EQ(atexit(handler_to_pipe), 0);
        CHECK_RC(troupe_finalizer_add(note_to_pipe, (void *)(uintptr_t) "-", -1,
                                      NULL),
                 0);
        CHECK_EQ(process_finish(process_start(grandchild_notes_to_pipe, NULL)),
                 0);
        CHECK_RC(troupe_finalizer_add(note_to_pipe, (void *)(uintptr_t) "+", 1,
                                      NULL),
                 0);
        raw = fork_raw();
        if (raw == 0) {
            /* Handlers of atexit it has, the sequence it has not. */
            exit(0);
        }
        CHECK_EQ(wait_raw(raw), 0);
        exit(22);
    }
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(wait_raw(root), 22);
    CHECK_EQ(read(ends[0], text, sizeof(text) - 1), 5);
    CHECK_STR(text, "gh+-h");
    CHECK_EQ(close(ends[0]), 0);
}

static int
child_prints_and_exits(void *unused)
{
    (void)unused;
    (void)printf("kept");
    exit(0);
}

TEST(output_is_kept_by_exit)
{
    char text[16] = "";
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    int ends[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    (void)fflush(stdout);
    CHECK_EQ(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(process_finish(process_start(child_prints_and_exits, NULL)), 0);
    CHECK_EQ(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(read(ends[0], text, sizeof(text) - 1), 4);
    CHECK_STR(text, "kept");
    CHECK_EQ(close(saved), 0);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

/* What a process holds when it exits, and a child of it waits for. */
struct holdings {
    troupe_lock lock;
    troupe_queue *stream; /* the exiting process is its one producer */
    troupe_queue *leased; /* the exiting process has its only message */
    uint32_t seen;        /* by the child */
};

static int
grandchild_needs_them(void *arg)
{
    struct holdings *h = arg;
    char message[8] = "";
    size_t size = sizeof(message);

    CHECK_RC(troupe_lock_acquire(&h->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    CHECK_RC(troupe_lock_consistent(&h->lock), 0);
    CHECK_RC(troupe_lock_release(&h->lock), 0);
    CHECK_RC(troupe_queue_get(h->stream, message, &size, TROUPE_FOREVER),
             -EPIPE);
    CHECK_RC(troupe_queue_get(h->leased, message, &size, TROUPE_FOREVER), 0);
    CHECK_EQ(size, 4u);
    CHECK_STR(message, "kept");
    h->seen = 1;
    return 0;
}

static void
finalizer_uses_them(void *arg)
{
    struct holdings *h = arg;

    /* Given up only after the finalizers of priority 0 and above, and usable
     * all the same afterwards. */
    if (h->seen == 0)
        CHECK(troupe_lock_locked(&h->lock));
    else {
        CHECK_RC(troupe_lock_release(&h->lock), -EPERM);
        CHECK_RC(troupe_lock_acquire(&h->lock, TROUPE_NOW), 0);
        CHECK_RC(troupe_lock_release(&h->lock), 0);
    }
}

static int
child_exits_holding(void *arg)
{
    struct holdings *h = arg;
    void *data;
    size_t size;

    CHECK_RC(troupe_lock_acquire(&h->lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_queue_attach_producer(h->stream), 0);
    CHECK_RC(troupe_queue_put(h->leased, "kept", 4, TROUPE_NOW), 0);
    CHECK_RC(troupe_queue_peek(h->leased, &data, &size, TROUPE_NOW), 0);
    CHECK_RC(troupe_finalizer_add(finalizer_uses_them, h, 1, NULL), 0);
    CHECK_RC(troupe_finalizer_add(finalizer_uses_them, h, -1, NULL), 0);
    troupe_process_free(process_start(grandchild_needs_them, h));
    return 12;
}

TEST(exit_gives_up_what_children_wait_for)
{
    struct holdings *h = SHARED(struct holdings);

    CHECK_RC(troupe_queue_new(&h->stream, NULL), 0);
    CHECK_RC(troupe_queue_new(&h->leased, NULL), 0);
    CHECK_EQ(process_finish(process_start(child_exits_holding, h)), 12);
    CHECK_EQ(h->seen, 1u);
    troupe_queue_free(h->stream);
    troupe_queue_free(h->leased);
    CHECK_RC(troupe_free(h), 0);
}

/* The exiting thread gives up its slot, and gets no other. */
static int
grandchild_polls(void *ready)
{
    CHECK_RC(troupe_event_set(ready), 0);
    while (!troupe_stop_requested())
        (void)sched_yield();
    return 0;
}

static int
child_exits_without_a_slot(void *ready)
{
    uint64_t *ranges = troupe__family.heap->range_namespace;
    troupe_process *p;
    uint32_t i;

    CHECK_RC(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                   .target = grandchild_polls,
                                                   .arg = ready,
                                                   .join_stops = true)),
             0);
    CHECK_RC(troupe_process_start(p), 0);
    CHECK_RC(troupe_event_wait(ready, TROUPE_FOREVER), 0);
    /* As if others had them all. */
    for (i = 0; i < TROUPE__RANGES; i++)
        ranges[i] = troupe__family_namespace() + 1;
    return 11;
}

TEST(exit_without_a_slot_stops_what_join_stops)
{
    troupe_event *ready = SHARED(troupe_event);
    uint64_t *ranges = troupe__family.heap->range_namespace;
    uint64_t saved[TROUPE__RANGES];

    memcpy(saved, ranges, sizeof(saved));
    CHECK_EQ(process_finish(process_start(child_exits_without_a_slot, ready)),
             11);
    memcpy(ranges, saved, sizeof(saved));
    CHECK_RC(troupe_free(ready), 0);
}

/* Somebody keeps a lock that the exit needs, longer than it waits for it. */
struct roles {
    troupe_event go;
    troupe_queue *queue;
    struct troupe__slot *slot; /* of who exits */
};

static int
grandchild_awaits_the_end(void *arg)
{
    struct roles *r = arg;
    char byte;
    size_t size = 1;

    CHECK_RC(troupe_queue_get(r->queue, &byte, &size, TROUPE_FOREVER), -EPIPE);
    return 0;
}

static int
child_exits_as_a_producer(void *arg)
{
    struct roles *r = arg;

    CHECK_RC(troupe_queue_attach_producer(r->queue), 0);
    CHECK_RC(troupe_event_wait(&r->go, TROUPE_FOREVER), 0);
    r->slot = troupe__thread_self->slot;
    troupe_process_free(process_start(grandchild_awaits_the_end, r));
    return 0;
}

static bool
waits_for(const struct troupe__slot *slot, const void *lock, int64_t since)
{
    return troupe__load_acquire(&slot->wait_kind) == TROUPE__KIND_INTERNAL &&
           troupe__load_relaxed(&slot->wait_object) == (uintptr_t)lock &&
           (since == 0 || troupe__load_relaxed(&slot->wait_since) == since);
}

TEST(exit_ends_the_roles_that_children_wait_for_when_it_can)
{
    const struct troupe__mutex *lock;
    struct timespec moment = {.tv_nsec = 100000};
    struct roles *r = SHARED(struct roles);
    struct troupe__slot *slot;
    troupe_process *p;
    int64_t since;

    lock = &troupe__family.heap->directory_lock;
    CHECK_RC(troupe_queue_new(&r->queue, NULL), 0);
    p = process_start(child_exits_as_a_producer, r);
    CHECK(troupe__directory_lock(troupe__thread_self));
    CHECK_RC(troupe_event_set(&r->go), 0);
    while ((slot = __atomic_load_n(&r->slot, __ATOMIC_SEQ_CST)) == NULL ||
           !waits_for(slot, lock, 0))
        (void)nanosleep(&moment, NULL);
    since = troupe__load_relaxed(&slot->wait_since);
    /* It has given up once. */
    while (waits_for(slot, lock, since))
        (void)nanosleep(&moment, NULL);
    troupe__directory_unlock(troupe__thread_self);
    CHECK_EQ(process_finish(p), 0);
    troupe_queue_free(r->queue);
    CHECK_RC(troupe_free(r), 0);
}
