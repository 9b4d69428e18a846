/* SPDX-License-Identifier: Apache-2.0 */
#include "os/bell.h"

#include "os/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_BYTES 5u
#define MOST_READY 32u

int
troupe__bell_sender(void)
{
    int fault = TROUPE__FAULT("socket");
    int fd;

    if (fault != 0)
        return -fault;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return troupe__fd_above_streams(fd < 0 ? -errno : fd);
}

/* The five bytes of a bound socket's name as a number; 0: it has none such. */
static uint64_t
name_of(int fd)
{
    struct sockaddr_un address;
    socklen_t size = sizeof(address);
    uint64_t name = 0;

    memset(&address, 0, sizeof(address));
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
        address.sun_family == AF_UNIX && address.sun_path[0] == '\0' &&
        size == offsetof(struct sockaddr_un, sun_path) + 1 + NAME_BYTES)
        memcpy(&name, address.sun_path + 1, NAME_BYTES);
    return name;
}

bool
troupe__bell_is(int fd, uint64_t name)
{
    return name_of(fd) == name;
}

int
troupe__bell_new(uint64_t *ret_name)
{
    struct sockaddr_un address;
    int fd = troupe__bell_sender();
    int error = -ENOTSUP;

    if (fd < 0)
        return fd;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    /* With nothing but the family the kernel chooses an abstract name. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) ==
        0) {
        *ret_name = name_of(fd);
        if (*ret_name != 0)
            return fd;
    } else {
        error = -errno;
    }
    (void)close(fd);
    return error;
}

bool
troupe__bell_sends(int fd)
{
    int saved = errno;
    int domain = 0;
    int type = 0;
    socklen_t size = sizeof(domain);
    bool sends = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
                 getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                 domain == AF_UNIX && type == SOCK_DGRAM;

    errno = saved;
    return sends;
}

int
troupe__bell_ring(int sender, uint64_t name)
{
    struct sockaddr_un address;
    int fault = TROUPE__FAULT("sendto");
    int saved = errno;
    int status = 0;
    char byte = 0;

    if (fault != 0)
        return -fault;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, &name, NAME_BYTES);
    /* sendto() is a cancellation point, and who rings must not end here. */
    while (syscall(SYS_sendto, sender, &byte, sizeof(byte),
                   MSG_DONTWAIT | MSG_NOSIGNAL, &address,
                   offsetof(struct sockaddr_un, sun_path) + 1 + NAME_BYTES) <
           0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != ENOBUFS)
            status = -errno;
        break;
    }
    errno = saved;
    return status;
}

bool
troupe__bell_drain(int fd)
{
    bool rung = false;
    char byte;

    for (;;) {
        if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0)
            rung = true;
        else if (errno != EINTR)
            return rung;
    }
}

int
troupe__set_new(void)
{
    int fault = TROUPE__FAULT("epoll_create1");
    int fd;

    if (fault != 0)
        return -fault;
    fd = epoll_create1(EPOLL_CLOEXEC);
    return troupe__fd_above_streams(fd < 0 ? -errno : fd);
}

int
troupe__set_add(int set, int fd, uint64_t data)
{
    struct epoll_event event;

    memset(&event, 0, sizeof(event));
    event.events = EPOLLIN;
    event.data.u64 = data;
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void
troupe__set_remove(int set, int fd)
{
    (void)epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
}

unsigned
troupe__set_ready(int set, uint64_t *data, unsigned room)
{
    struct epoll_event events[MOST_READY];
    int count;
    int i;

    if (room > MOST_READY)
        room = MOST_READY;
    count = epoll_wait(set, events, (int)room, 0);
    for (i = 0; i < count; i++)
        data[i] = events[i].data.u64;
    return count < 0 ? 0 : (unsigned)count;
}

int
troupe__tick_new(void)
{
    int fault = TROUPE__FAULT("timerfd_create");
    int fd;

    if (fault != 0)
        return -fault;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return troupe__fd_above_streams(fd < 0 ? -errno : fd);
}

void
troupe__tick_set(int fd, bool on)
{
    struct itimerspec every = {{on, 0}, {on, 0}};

    (void)timerfd_settime(fd, 0, &every, NULL);
}

void
troupe__tick_drain(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}
