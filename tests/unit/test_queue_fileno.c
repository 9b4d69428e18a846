/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues and events in event loops.
 */
#include "harness.h"

#include "sync/doorbell.h"

#include <troupe.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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
    return (p.revents & POLLIN) != 0;
}

static void
await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK_EQ(p.revents, POLLIN);
}

static bool
is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static troupe_queue *
queue_new(uint64_t max_items)
{
    troupe_queue *queue;

    CHECK_RC(troupe_queue_new(&queue, TROUPE_OPTIONS(troupe_queue_options,
                                                     .max_items = max_items)),
             0);
    return queue;
}

static int
fileno_of(troupe_queue *queue, int side)
{
    int fd = -1;

    CHECK_RC(troupe_queue_fileno(queue, side, &fd), 0);
    CHECK_GE(fd, 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    return fd;
}

static int
get_now(troupe_queue *queue)
{
    unsigned char byte;
    size_t size = 1;

    return troupe_queue_get(queue, &byte, &size, TROUPE_NOW);
}

static int
put_now(troupe_queue *queue)
{
    return troupe_queue_put(queue, "x", 1, TROUPE_NOW);
}

static void
reap(pid_t pid)
{
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST(queue_fileno_is_readable_while_there_are_messages)
{
    troupe_queue *queue = queue_new(0);
    int fd = fileno_of(queue, TROUPE_QUEUE_GET);
    unsigned i;

    CHECK_EQ(fileno_of(queue, TROUPE_QUEUE_GET), fd);
    for (i = 0; i < 10; i++) {
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK(!readable(fd));
        CHECK_RC(put_now(queue), 0);
        CHECK(readable(fd));
        CHECK_RC(put_now(queue), 0);
        CHECK_RC(get_now(queue), 0);
        CHECK(readable(fd));
        CHECK_RC(get_now(queue), 0);
    }
    troupe_queue_free(queue);
    CHECK(!is_open(fd));
    keep_sender();
}

TEST(queue_fileno_begins_readable)
{
    troupe_queue *queue = queue_new(0);
    int fd;

    CHECK_RC(put_now(queue), 0);
    fd = fileno_of(queue, TROUPE_QUEUE_GET);
    CHECK(readable(fd));
    CHECK_RC(get_now(queue), 0);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    troupe_queue_free(queue);
    keep_sender();
}

TEST(queue_fileno_tells_of_room)
{
    troupe_queue *queue = queue_new(2);
    int fd = fileno_of(queue, TROUPE_QUEUE_PUT);

    CHECK(readable(fd));
    CHECK_RC(put_now(queue), 0);
    CHECK_RC(put_now(queue), 0);
    CHECK_RC(put_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    CHECK_RC(get_now(queue), 0);
    CHECK(readable(fd));
    CHECK_RC(put_now(queue), 0);
    CHECK_RC(put_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    troupe_queue_free(queue);
    keep_sender();
}

TEST(queue_fileno_refuses_nonsense)
{
    troupe_queue *queue = queue_new(0);
    int fd = -5;

    CHECK_RC(troupe_queue_fileno(NULL, TROUPE_QUEUE_GET, &fd), -EINVAL);
    CHECK_RC(troupe_queue_fileno(queue, 2, &fd), -EINVAL);
    CHECK_RC(troupe_queue_fileno(queue, -1, &fd), -EINVAL);
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, NULL), -EINVAL);
    CHECK_RC(troupe_event_fileno(NULL, &fd), -EINVAL);
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_RC(troupe_queue_fileno(queue, TROUPE_QUEUE_GET, &fd), -ESHUTDOWN);
    CHECK_EQ(fd, -5);
    troupe_queue_free(queue);
    keep_sender();
}

TEST(queue_close_closes_the_descriptors)
{
    troupe_queue *queue = queue_new(0);
    troupe_queue *other = queue_new(0);
    int get = fileno_of(queue, TROUPE_QUEUE_GET);
    int put = fileno_of(queue, TROUPE_QUEUE_PUT);
    int stays = fileno_of(other, TROUPE_QUEUE_GET);

    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK(!is_open(get));
    CHECK(!is_open(put));
    CHECK(is_open(stays));
    troupe_queue_free(queue);
    troupe_queue_free(other);
    CHECK(!is_open(stays));
    keep_sender();
}

/* A child of the event loop's process has copies of all descriptors. */
TEST(queue_close_leaves_nothing_that_wakes_an_event_loop)
{
    troupe_queue *queue = queue_new(0);
    struct epoll_event event = {.events = EPOLLIN};
    int loop = epoll_create1(EPOLL_CLOEXEC);
    pid_t pid;

    CHECK_GE(loop, 0);
    CHECK_EQ(epoll_ctl(loop, EPOLL_CTL_ADD, fileno_of(queue, TROUPE_QUEUE_GET),
                       &event),
             0);
    CHECK_EQ(epoll_wait(loop, &event, 1, 0), 1);
    pid = fork();
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK_EQ(epoll_wait(loop, &event, 1, 0), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    reap(pid);
    CHECK_EQ(close(loop), 0);
    troupe_queue_free(queue);
    keep_sender();
}

TEST(queue_fileno_wakes_an_event_loop_in_another_process)
{
    troupe_queue *there = queue_new(0);
    troupe_queue *back = queue_new(0);
    pid_t pid = fork();
    int loop;
    int fd;
    unsigned i;

    if (pid == 0) {
        for (i = 0; i < 200; i++) {
            unsigned char byte;
            size_t size = 1;

            CHECK_RC(troupe_queue_get(there, &byte, &size, TROUPE_FOREVER), 0);
            CHECK_RC(put_now(back), 0);
        }
        _exit(0);
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    fd = fileno_of(back, TROUPE_QUEUE_GET);
    CHECK_EQ(epoll_ctl(loop, EPOLL_CTL_ADD, fd,
                       &(struct epoll_event){.events = EPOLLIN}),
             0);
    for (i = 0; i < 200; i++) {
        struct epoll_event event;

        CHECK_RC(put_now(there), 0);
        while (get_now(back) == -EAGAIN)
            CHECK_EQ(epoll_wait(loop, &event, 1, -1), 1);
    }
    reap(pid);
    CHECK_EQ(close(loop), 0);
    troupe_queue_free(there);
    troupe_queue_free(back);
    keep_sender();
}

TEST(queue_fileno_tells_of_shutdown)
{
    troupe_queue *queue = queue_new(0);
    int fd = fileno_of(queue, TROUPE_QUEUE_GET);
    pid_t pid;

    CHECK_RC(get_now(queue), -EAGAIN);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_queue_shutdown(queue), 0);
        _exit(0);
    }
    while (get_now(queue) != -EPIPE)
        await(fd);
    reap(pid);
    troupe_queue_free(queue);
    keep_sender();
}

/* Nobody rings when a producer is killed: its end itself must wake. */
TEST(queue_fileno_tells_of_the_last_producers_death)
{
    troupe_queue *queue = queue_new(0);
    int fd = fileno_of(queue, TROUPE_QUEUE_GET);
    pid_t pid = fork();

    if (pid == 0) {
        CHECK_RC(troupe_queue_attach_producer(queue), 0);
        CHECK_RC(put_now(queue), 0);
        for (;;)
            (void)pause();
    }
    while (get_now(queue) == -EAGAIN)
        await(fd);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    CHECK_EQ(kill(pid, SIGKILL), 0);
    while (get_now(queue) != -EPIPE)
        await(fd);
    reap(pid);
    troupe_queue_free(queue);
    keep_sender();
}

/* What one producer cannot tell is left to the next. */
TEST(queue_fileno_is_rung_by_who_can)
{
    troupe_queue *queue = queue_new(0);
    troupe_event *events = troupe_calloc(4, sizeof(*events));
    pid_t pid;
    int fd;

    CHECK(events != NULL);
    /* Before there is a socket to inherit. */
    pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};

        CHECK_RC(troupe_event_wait(&events[0], TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_event_set(&events[1]), 0);
        CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
        CHECK_RC(put_now(queue), 0);
        CHECK_RC(troupe_event_set(&events[2]), 0);
        CHECK_RC(troupe_event_wait(&events[3], TROUPE_FOREVER), 0);
        _exit(0);
    }
    CHECK_RC(troupe_event_wait(&events[1], TROUPE_FOREVER), 0);
    fd = fileno_of(queue, TROUPE_QUEUE_GET);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK_RC(troupe_event_set(&events[0]), 0);
    CHECK_RC(troupe_event_wait(&events[2], TROUPE_FOREVER), 0);
    CHECK_RC(put_now(queue), 0);
    CHECK(readable(fd));
    CHECK_RC(get_now(queue), 0);
    CHECK_RC(get_now(queue), 0);
    CHECK_RC(troupe_event_set(&events[3]), 0);
    reap(pid);
    troupe_queue_free(queue);
    CHECK_RC(troupe_free(events), 0);
    keep_sender();
}

TEST(queue_fileno_of_a_parent_is_not_the_childs)
{
    troupe_queue *queue = queue_new(0);
    int fd = fileno_of(queue, TROUPE_QUEUE_GET);
    pid_t pid;

    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    pid = fork();
    if (pid == 0) {
        int own = fileno_of(queue, TROUPE_QUEUE_GET);

        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK_RC(put_now(queue), 0);
        CHECK(readable(own));
        CHECK_RC(get_now(queue), 0);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK(!readable(own));
        CHECK_RC(put_now(queue), 0);
        _exit(0);
    }
    reap(pid);
    await(fd);
    CHECK_RC(get_now(queue), 0);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(fd));
    troupe_queue_free(queue);
    keep_sender();
}

/* A host that closes what it does not know, and uses the numbers itself. */
static void
close_and_reuse(troupe_queue *queue, troupe_queue *other)
{
    int fd = fileno_of(queue, TROUPE_QUEUE_GET);
    int fds[60];
    unsigned i;
    int own;

    (void)fileno_of(other, TROUPE_QUEUE_GET);
    CHECK_RC(get_now(other), -EAGAIN);
    CHECK_RC(put_now(other), 0); /* makes the socket to ring from */
    CHECK_RC(get_now(queue), -EAGAIN);
    for (own = 3; own < 60; own++)
        (void)close(own);
    for (i = 0; i < 60; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK_GE(fds[i], 0);
    }
    CHECK_GT(fds[59], fd);
    own = fileno_of(queue, TROUPE_QUEUE_GET);
    CHECK_RC(get_now(queue), -EAGAIN);
    CHECK(!readable(own));
    CHECK_RC(put_now(queue), 0);
    CHECK(readable(own));
    CHECK_RC(troupe_queue_close(other), 0);
    CHECK_RC(troupe_queue_close(queue), 0);
    CHECK(!is_open(own));
    for (i = 0; i < 60; i++)
        CHECK_EQ(close(fds[i]), 0);
}

TEST(queue_fileno_never_closes_a_hosts_descriptors)
{
    troupe_queue *queue = queue_new(0);
    troupe_queue *other = queue_new(0);
    pid_t pid = fork();

    if (pid == 0) {
        close_and_reuse(queue, other);
        _exit(0);
    }
    reap(pid);
    /* The same with what is left of its parent's in a child. */
    (void)fileno_of(queue, TROUPE_QUEUE_GET);
    (void)fileno_of(other, TROUPE_QUEUE_GET);
    while (get_now(queue) == 0 || get_now(other) == 0)
        ;
    pid = fork();
    if (pid == 0) {
        int fds[60];
        unsigned i;

        CHECK_RC(put_now(other), 0); /* joins, without looking at bells */
        for (i = 3; i < 60; i++)
            (void)close((int)i);
        for (i = 0; i < 60; i++)
            fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK_RC(get_now(queue), -EAGAIN);
        (void)fileno_of(queue, TROUPE_QUEUE_GET);
        CHECK_RC(troupe_queue_close(queue), 0);
        for (i = 0; i < 60; i++)
            CHECK_EQ(close(fds[i]), 0);
        _exit(0);
    }
    reap(pid);
    troupe_queue_free(queue);
    troupe_queue_free(other);
    keep_sender();
}

/* Many pollers of one queue: tables grow, and each is told. */
TEST(queue_fileno_serves_many_members)
{
    troupe_queue *queue = queue_new(0);
    troupe_queue *ready = queue_new(0);
    pid_t pids[50];
    unsigned char byte;
    size_t size;
    unsigned i;

    for (i = 0; i < 50; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            int fd = fileno_of(queue, TROUPE_QUEUE_GET);

            CHECK_RC(get_now(queue), -EAGAIN);
            CHECK_RC(put_now(ready), 0);
            while (get_now(queue) != -EPIPE)
                await(fd);
            _exit(0);
        }
    }
    for (i = 0; i < 50; i++) {
        size = 1;
        CHECK_RC(troupe_queue_get(ready, &byte, &size, TROUPE_FOREVER), 0);
    }
    CHECK_RC(troupe_queue_shutdown(queue), 0);
    for (i = 0; i < 50; i++)
        reap(pids[i]);
    troupe_queue_free(queue);
    troupe_queue_free(ready);
    keep_sender();
}

TEST(queue_fileno_is_made_anew_for_a_new_queue)
{
    unsigned i;

    for (i = 0; i < 20; i++) {
        troupe_queue *queue = queue_new(0);
        int fd = fileno_of(queue, TROUPE_QUEUE_GET);
        pid_t pid = fork();

        /* Freed by another member than the one that polls. */
        if (pid == 0) {
            troupe_queue_free(queue);
            _exit(0);
        }
        reap(pid);
        queue = queue_new(0);
        fd = fileno_of(queue, TROUPE_QUEUE_GET);
        CHECK_RC(get_now(queue), -EAGAIN);
        CHECK(!readable(fd));
        CHECK_RC(put_now(queue), 0);
        CHECK(readable(fd));
        troupe_queue_free(queue);
    }
    keep_sender();
}

/* A look that finds nothing silences it; then a second may have passed. */
static void
silence(troupe_event *event, int fd)
{
    do
        CHECK_RC(troupe_event_wait(event, TROUPE_NOW), -ETIMEDOUT);
    while (readable(fd));
}

TEST(event_fileno_tells_of_a_set)
{
    troupe_event *event = troupe_calloc(1, sizeof(*event));
    pid_t pid;
    int fd = -1;

    CHECK(event != NULL);
    CHECK_RC(troupe_event_fileno(event, &fd), 0);
    silence(event, fd);
    pid = fork();
    if (pid == 0) {
        CHECK_RC(troupe_event_set(event), 0);
        _exit(0);
    }
    while (troupe_event_wait(event, TROUPE_NOW) != 0)
        await(fd);
    reap(pid);
    CHECK(readable(fd));
    CHECK_RC(troupe_event_clear(event), 0);
    silence(event, fd);
    troupe_event_fini(event);
    CHECK(!is_open(fd));
    CHECK_RC(troupe_free(event), 0);
    keep_sender();
}

TEST(event_fileno_works_in_private_memory)
{
    troupe_event event = {0};
    int fd = -1;

    CHECK_RC(troupe_event_fileno(&event, &fd), 0);
    silence(&event, fd);
    CHECK_RC(troupe_event_set(&event), 0);
    CHECK(readable(fd));
    troupe_event_fini(&event);
    CHECK(!is_open(fd));
    keep_sender();
}

/* A fork copies what is in private memory: the child's end of it is not the
 * parent's. */
TEST(event_fileno_in_private_memory_outlives_the_copy_of_a_child)
{
    troupe_event event = {0};
    int fd = -1;
    pid_t pid;

    CHECK_RC(troupe_event_fileno(&event, &fd), 0);
    CHECK_RC(troupe_event_wait(&event, TROUPE_NOW), -ETIMEDOUT);
    pid = fork();
    if (pid == 0) {
        troupe_event_fini(&event);
        _exit(0);
    }
    reap(pid);
    silence(&event, fd); /* of the child's end */
    CHECK_RC(troupe_event_set(&event), 0);
    CHECK(readable(fd));
    troupe_event_fini(&event);
    CHECK(!is_open(fd));
    keep_sender();
}

static unsigned
count_open(void)
{
    unsigned count = 0;
    int fd;

    for (fd = 0; fd < 1024; fd++)
        count += is_open(fd);
    return count;
}

/* The member that polls is not the one that ends what is polled. */
TEST(event_descriptors_of_what_others_ended_are_closed)
{
    enum { EVENTS = 30 };

    troupe_event *events = troupe_calloc(EVENTS + 1, sizeof(*events));
    unsigned before;
    unsigned round;
    unsigned i;
    int fd;

    CHECK(events != NULL);
    CHECK_RC(troupe_event_fileno(&events[EVENTS], &fd), 0);
    before = count_open();
    for (round = 0; round < 3; round++) {
        pid_t pid;

        for (i = 0; i < EVENTS; i++)
            CHECK_RC(troupe_event_fileno(&events[i], &fd), 0);
        CHECK_EQ(count_open(), before + 2 * EVENTS);
        pid = fork();
        if (pid == 0) {
            for (i = 0; i < EVENTS; i++)
                troupe_event_fini(&events[i]);
            _exit(0);
        }
        reap(pid);
        CHECK_RC(troupe_event_fileno(&events[0], &fd), 0);
        CHECK_EQ(count_open(), before + 2);
    }
    troupe_event_fini(&events[0]);
    troupe_event_fini(&events[EVENTS]);
    CHECK_RC(troupe_free(events), 0);
    keep_sender();
}

/* The kernel's limit on what one descriptor may wake has a name. */
TEST(event_filenos_end_with_a_status_that_says_so)
{
    enum { EVENTS = 501 };

    troupe_event *events = troupe_calloc(EVENTS, sizeof(*events));
    struct rlimit limit;
    unsigned i;
    int fd;

    CHECK(events != NULL);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < 1100)
        SKIP("needs 1100 descriptors");
    for (i = 0; i < EVENTS - 1; i++)
        CHECK_RC(troupe_event_fileno(&events[i], &fd), 0);
    CHECK_RC(troupe_event_fileno(&events[i], &fd), -EMFILE);
    CHECK(strstr(troupe_error_detail(), "500") != NULL);
    for (i = 0; i < EVENTS; i++)
        troupe_event_fini(&events[i]);
    CHECK_RC(troupe_free(events), 0);
    keep_sender();
}
