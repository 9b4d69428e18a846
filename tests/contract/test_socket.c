/* SPDX-License-Identifier: Apache-2.0 */
/* The doorbell: an autobound datagram socket inside a nested epoll. */
#include "contract.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

struct bell {
    int fd;
    struct sockaddr_un address;
    socklen_t size;
};

static void
bell_open(struct bell *bell)
{
    memset(bell, 0, sizeof(*bell));
    bell->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK_GE(bell->fd, 0);
    bell->address.sun_family = AF_UNIX;
    /* The family alone asks the kernel for a name. */
    CHECK_EQ(
        bind(bell->fd, (struct sockaddr *)&bell->address, sizeof(sa_family_t)),
        0);
    bell->size = sizeof(bell->address);
    CHECK_EQ(
        getsockname(bell->fd, (struct sockaddr *)&bell->address, &bell->size),
        0);
}

static int
sender(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    CHECK_GE(fd, 0);
    return fd;
}

static int
ring(int from, const struct bell *bell)
{
    ssize_t sent = sendto(from, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
                          (const struct sockaddr *)&bell->address, bell->size);

    return sent < 0 ? -errno : 0;
}

TEST(an_autobound_socket_has_a_short_abstract_name)
{
    struct bell one, two;
    size_t header = offsetof(struct sockaddr_un, sun_path);

    bell_open(&one);
    bell_open(&two);
    CHECK_EQ(one.size - header, 6);
    CHECK_EQ(one.address.sun_path[0], '\0');
    CHECK(memcmp(&one.address, &two.address, sizeof(one.address)) != 0);
    close(one.fd);
    close(two.fd);
}

TEST(any_process_can_ring_a_bell_by_its_name)
{
    struct bell bell;
    char byte;
    pid_t pid;

    bell_open(&bell);
    CHECK_EQ(recv(bell.fd, &byte, 1, 0), -1);
    CHECK_EQ(errno, EAGAIN);
    pid = fork_checked();
    if (pid == 0) {
        int from = sender();

        CHECK_RC(ring(from, &bell), 0);
        _exit(0);
    }
    reap_success(pid);
    CHECK(readable_now(bell.fd));
    CHECK_EQ(recv(bell.fd, &byte, 1, 0), 1);
    CHECK(!readable_now(bell.fd));
    close(bell.fd);
}

TEST(a_full_bell_is_eagain_and_still_readable)
{
    struct bell bell;
    int from = sender(), sent = 0, status;

    bell_open(&bell);
    while ((status = ring(from, &bell)) == 0)
        CHECK_LT(++sent, 100000);
    CHECK_RC(status, -EAGAIN);
    CHECK_GT(sent, 0);
    CHECK(readable_now(bell.fd));
    close(from);
    close(bell.fd);
}

TEST(the_bell_of_the_dead_refuses_without_a_signal)
{
    struct bell bell;
    int from = sender();

    bell_open(&bell);
    close(bell.fd);
    CHECK_RC(ring(from, &bell), -ECONNREFUSED);
    close(from);
}

static int
epoll_of(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    CHECK_GE(epoll, 0);
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    return epoll;
}

TEST(a_nested_epoll_wakes_the_outer_one_when_a_watched_process_dies)
{
    pid_t pid = fork_checked(), waiter;
    int pidfd, inner, outer;

    if (pid == 0)
        for (;;)
            pause();
    pidfd = pidfd_of(pid);
    inner = epoll_of(pidfd);
    outer = epoll_of(inner);
    CHECK(!readable_now(inner));
    CHECK(!readable_now(outer));
    waiter = fork_checked();
    if (waiter == 0) {
        struct epoll_event event;

        CHECK_EQ(epoll_wait(outer, &event, 1, -1), 1);
        _exit(0);
    }
#ifdef SYS_epoll_wait
    await_sleep_in(waiter, SYS_epoll_wait);
#else
    await_sleep_in(waiter, SYS_epoll_pwait);
#endif
    kill_and_reap(pid);
    reap_success(waiter);
    /* Level triggered: it stays so until the pidfd is taken out. */
    CHECK(readable_now(inner));
    CHECK(readable_now(outer));
    CHECK_EQ(epoll_ctl(inner, EPOLL_CTL_DEL, pidfd, NULL), 0);
    CHECK(!readable_now(outer));
    close(outer);
    close(inner);
    close(pidfd);
}

TEST(a_nested_epoll_is_readable_while_its_bell_is)
{
    struct bell bell;
    int from = sender(), inner, outer;
    char byte;

    bell_open(&bell);
    inner = epoll_of(bell.fd);
    outer = epoll_of(inner);
    CHECK(!readable_now(outer));
    CHECK_RC(ring(from, &bell), 0);
    CHECK(readable_now(inner));
    CHECK(readable_now(outer));
    CHECK_EQ(recv(bell.fd, &byte, 1, 0), 1);
    CHECK(!readable_now(outer));
    close(outer);
    close(inner);
    close(from);
    close(bell.fd);
}

TEST(a_nested_epoll_is_readable_when_its_timer_has_run_out)
{
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    struct epoll_event event;
    uint64_t times;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int inner = epoll_of(timer), outer = epoll_of(inner);

    CHECK(!readable_now(outer));
    CHECK_EQ(timerfd_settime(timer, 0, &soon, NULL), 0);
    CHECK_EQ(epoll_wait(outer, &event, 1, -1), 1);
    CHECK(readable_now(inner));
    CHECK_EQ(read(timer, &times, sizeof(times)), (ssize_t)sizeof(times));
    CHECK(!readable_now(outer));
    close(outer);
    close(inner);
    close(timer);
}

TEST(what_is_added_to_an_inner_epoll_later_wakes_the_outer_one_too)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct bell bell;
    int from = sender(), inner = epoll_create1(EPOLL_CLOEXEC), outer;

    bell_open(&bell);
    outer = epoll_of(inner);
    CHECK_RC(ring(from, &bell), 0);
    CHECK(!readable_now(outer));
    CHECK_EQ(epoll_ctl(inner, EPOLL_CTL_ADD, bell.fd, &event), 0);
    CHECK(readable_now(outer));
    close(outer);
    close(inner);
    close(from);
    close(bell.fd);
}
