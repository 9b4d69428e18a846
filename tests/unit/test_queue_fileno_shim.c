/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member killed between its put and the ring, and descriptors that cannot be
 * had.
 */
#include "unit.h"

#include "heap/member.h"
#include "os/fault.h"
#include "sync/doorbell.h"

#include <troupe.h>

#include <fcntl.h>
#include <poll.h>

static void
await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    CHECK_EQ(poll(&p, 1, -1), 1);
}

/* A process keeps what it rings from. */
static void
keep_sender(void)
{
    if (troupe__doorbell_sender() >= 0)
        harness_keep_fd(troupe__doorbell_sender());
}

static bool
readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    CHECK_GE(poll(&p, 1, 0), 0);
    return p.revents != 0;
}

static int
get_now(troupe_queue *queue)
{
    unsigned char byte;
    size_t size = 1;

    return troupe_queue_get(queue, &byte, &size, TROUPE_NOW);
}

static int
die_at_ring(const char *call)
{
    if (strcmp(call, "sendto") == 0)
        (void)kill(getpid(), SIGKILL);
    return 0;
}

static int
no_watch(const char *call)
{
    return strcmp(call, "pidfd_open") == 0 ? EMFILE : 0;
}

static int
no_descriptor(const char *call)
{
    return strcmp(call, "pidfd_open") == 0 ||
                   strcmp(call, "timerfd_create") == 0
               ? EMFILE
               : 0;
}

static const char *failing;
static int fail_with;

static int
fail_one(const char *call)
{
    return strcmp(call, failing) == 0 ? fail_with : 0;
}

/* The producer joins before or after the poller began to poll. */
static void
killed_before_the_ring(bool joins_before, int (*fault)(const char *))
{
    troupe_queue *queue;
    troupe_event *ready = troupe_calloc(2, sizeof(*ready));
    int status;
    pid_t pid;
    int fd;

    CHECK(ready != NULL);
    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    troupe__shim_fault = fault;
    if (!joins_before) {
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
    }
    pid = fork();
    if (pid == 0) {
        troupe__shim_fault = NULL;
        CHECK_RC(troupe_event_wait(&ready[1], TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_event_set(&ready[0]), 0);
        if (joins_before)
            CHECK_RC(troupe_event_wait(&ready[1], TROUPE_FOREVER), 0);
        troupe__shim_fault = die_at_ring;
        status = troupe_queue_put(queue, "x", 1, TROUPE_NOW);
        FAIL("the put returned %d", status);
    }
    if (joins_before) {
        CHECK_RC(troupe_event_wait(&ready[0], TROUPE_FOREVER), 0);
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK_RC(troupe_event_set(&ready[1]), 0);
    }
    while (get_now(queue) == -EAGAIN)
        await(fd);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    troupe__shim_fault = NULL;
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(ready), 0);
}

TEST(queue_fileno_tells_what_a_killed_producer_could_not)
{
    unsigned i;

    for (i = 0; i < 20; i++) {
        killed_before_the_ring(false, NULL);
        killed_before_the_ring(true, NULL);
    }
    keep_sender();
}

static bool ringing;
static unsigned stop_at;

static int
at_ring(const char *call)
{
    if (strcmp(call, "sendto") == 0) {
        ringing = true;
        if (stop_at == 0)
            (void)kill(getpid(), SIGSTOP);
    }
    return 0;
}

static void
behind_ring(const volatile void *address)
{
    (void)address;
    if (!ringing || stop_at == 0)
        return;
    ringing = false;
    (void)kill(getpid(), SIGSTOP);
}

/* A producer is stopped just before, or just behind its ring: that keeps nobody
 * else from telling, neither while it is stopped nor when it goes on. */
TEST(queue_fileno_does_without_a_stopped_ringer)
{
    troupe_event *events = troupe_calloc(2, sizeof(*events));
    troupe_queue *queue;
    int status;
    pid_t pid;
    int fd;

    CHECK(events != NULL);
    for (stop_at = 0; stop_at < 2; stop_at++) {
        CHECK_RC(troupe_event_clear(&events[0]), 0);
        CHECK_RC(troupe_event_clear(&events[1]), 0);
        CHECK_RC(troupe_queue_new(&queue, NULL), 0);
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK(!readable(fd));
        pid = fork();
        if (pid == 0) {
            /* Joins, and has the socket to ring from. */
            CHECK_RC(troupe_event_wait(&events[1], TROUPE_NOW), -ETIMEDOUT);
            CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
            troupe__shim_fault = at_ring;
            troupe__shim_atomic_hook = behind_ring;
            status = troupe_queue_put(queue, "x", 1, TROUPE_NOW);
            troupe__shim_atomic_hook = NULL;
            troupe__shim_fault = NULL;
            CHECK_RC(status, 0);
            CHECK_RC(troupe_event_set(&events[0]), 0);
            CHECK_RC(troupe_event_wait(&events[1], TROUPE_FOREVER), 0);
            _exit(0);
        }
        /* The child's joining is told first. */
        await(fd);
        CHECK_RC(get_now(queue), -EAGAIN);
        while (readable(fd))
            CHECK_RC(get_now(queue), -EAGAIN);
        CHECK_RC(troupe_event_set(&events[0]), 0);
        CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(readable(fd), stop_at == 1);
        CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), 0);
        CHECK(readable(fd));
        CHECK_RC(get_now(queue), 0);
        CHECK_RC(get_now(queue), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK(!readable(fd));
        CHECK_RC(troupe_event_clear(&events[0]), 0);
        CHECK_EQ(kill(pid, SIGCONT), 0);
        CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
        if (stop_at == 1)
            CHECK(!readable(fd));
        CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), 0);
        CHECK(readable(fd));
        CHECK_RC(get_now(queue), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK_RC(troupe_event_set(&events[1]), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
        troupe_queue_free(queue);
    }
    CHECK_RC(troupe_free(events), 0);
    keep_sender();
}

TEST(queue_fileno_ticks_where_members_cannot_be_watched)
{
    killed_before_the_ring(false, no_watch);
    killed_before_the_ring(true, no_watch);
    keep_sender();
}

/* The descriptors run out after it was made: a member that joins then is known
 * and not watched when it is killed. */
TEST(queue_fileno_ticks_where_there_is_no_descriptor_left)
{
    troupe_event *events = troupe_calloc(2, sizeof(*events));
    troupe_queue *queue;
    pid_t pid;
    int fd;

    CHECK(events != NULL);
    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
    CHECK_RC(get_now(queue), -EAGAIN);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_event_wait(&events[1], TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_event_set(&events[0]), 0);
        CHECK_RC(troupe_event_wait(&events[1], TROUPE_FOREVER), 0);
        troupe__shim_fault = die_at_ring;
        FAIL("the put returned %d",
             troupe_queue_put(queue, "x", 1, TROUPE_NOW));
    }
    CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
    troupe__shim_fault = no_descriptor;
    CHECK(readable(fd));
    while (readable(fd))
        CHECK_RC(get_now(queue), -EAGAIN);
    CHECK_RC(troupe_event_set(&events[1]), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    await(fd);
    CHECK_RC(get_now(queue), 0);
    troupe__shim_fault = NULL;
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(events), 0);
    keep_sender();
}

TEST(queue_fileno_fails_without_descriptors_and_leaves_nothing)
{
    static const char *const calls[] = {"socket", "epoll_create1",
                                        "timerfd_create"};
    troupe_queue *queue;
    unsigned i;
    int fd = -7;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    troupe__shim_fault = fail_one;
    for (i = 0; i < 3; i++) {
        failing = calls[i];
        fail_with = ENOBUFS;
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), -ENOMEM);
        fail_with = EACCES;
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), -ENOTSUP);
        fail_with = EMFILE;
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), -EMFILE);
        CHECK_EQ(fd, -7);
    }
    troupe__shim_fault = NULL;
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
    CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), 0);
    CHECK(readable(fd));
    troupe_queue_free(queue);
    keep_sender();
}

static int left;

static int
fail_after(const char *call)
{
    static const char *const calls[] = {"socket", "epoll_create1",
                                        "timerfd_create", "pidfd_open"};
    unsigned i;

    for (i = 0; i < 4; i++)
        if (strcmp(call, calls[i]) == 0)
            return --left < 0 ? EMFILE : 0;
    return 0;
}

static unsigned
count_open(void)
{
    unsigned count = 0;
    int fd;

    for (fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void
member_sleeps(void *joined)
{
    (void)unit_slot();
    unit_raise(joined);
    unit_sleep_forever();
}

/* Other members do not take what it needs: it is made as soon as there are
 * five descriptors, and keeps none before. */
TEST(queue_fileno_fails_at_any_descriptor_and_leaves_nothing)
{
    uint32_t *joined = unit_shared(sizeof(*joined));
    troupe_queue *queue;
    unsigned before;
    pid_t pids[3];
    unsigned i;
    int fd;
    int n;

    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    /* Makes the socket to ring from. */
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    before = count_open();
    for (i = 0; i < 3; i++)
        pids[i] = unit_fork(member_sleeps, joined);
    unit_await(joined, 3);
    troupe__shim_fault = fail_after;
    for (n = 0; n < 5; n++) {
        left = n;
        CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), -EMFILE);
        CHECK_EQ(count_open(), before);
    }
    left = 5;
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
    troupe__shim_fault = NULL;
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK_RC(troupe_queue_put(queue, "x", 1, TROUPE_NOW), 0);
    CHECK(readable(fd));
    troupe_queue_free(queue);
    CHECK_EQ(count_open(), before);
    for (i = 0; i < 3; i++)
        unit_kill(pids[i]);
    CHECK_RC(troupe_free(joined), 0);
    keep_sender();
}

/* In the heap: the first thread of a process is held up, behind its record and
 * before it has told anybody. */
static uint32_t *held_up;
static __thread bool joins_first;

static void
hold_up(const volatile void *address)
{
    (void)address;
    if (!joins_first)
        return;
    joins_first = false; /* what follows comes here as well */
    if (troupe__member_here() == NULL) {
        joins_first = true;
        return;
    }
    unit_raise(held_up);
    unit_sleep_forever();
}

static void *
join_first(void *argument)
{
    (void)argument;
    joins_first = true;
    (void)unit_slot();
    return NULL;
}

static void
second_thread_dies_at_its_ring(void *argument)
{
    pthread_t first;

    troupe__shim_atomic_hook = hold_up;
    CHECK_EQ(pthread_create(&first, NULL, join_first, NULL), 0);
    unit_await(held_up, 1);
    (void)unit_slot();
    troupe__shim_fault = die_at_ring;
    FAIL("the put returned %d", troupe_queue_put(argument, "x", 1, TROUPE_NOW));
}

TEST(queue_fileno_is_told_of_a_process_by_its_first_thread_to_have_joined)
{
    troupe_queue *queue;
    pid_t pid;
    int fd;

    held_up = unit_shared(sizeof(*held_up));
    CHECK_RC(troupe_queue_new(&queue, NULL), 0);
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), 0);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    pid = unit_fork(second_thread_dies_at_its_ring, queue);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK(readable(fd));
    CHECK_RC(get_now(queue), 0);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(held_up), 0);
    keep_sender();
}
