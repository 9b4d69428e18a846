/* SPDX-License-Identifier: Apache-2.0 */
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_ABOVE_STREAMS 3

bool
troupe__fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int
troupe__fd_above_streams(int fd)
{
    int moved;

    if (fd < 0 || fd >= FIRST_ABOVE_STREAMS)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_ABOVE_STREAMS);
    if (moved < 0)
        moved = -errno;
    troupe__fd_close(fd);
    return moved;
}

void
troupe__fd_close(int fd)
{
    int saved = errno;

    (void)syscall(SYS_close, fd);
    errno = saved;
}
