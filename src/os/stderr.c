/* SPDX-License-Identifier: Apache-2.0 */
#include "os/stderr.h"

#include "os/cancel.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

/* Writes and waits as a blocking descriptor does. */
static void
write_all(const char *text, size_t length)
{
    while (length != 0) {
        ssize_t written = write(STDERR_FILENO, text, length);

        if (written > 0) {
            text += written;
            length -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            /* The host has made it non-blocking: a line is not torn. */
            struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

            (void)poll(&p, 1, 1000);
            if ((p.revents & POLLOUT) == 0)
                return;
        } else if (written == 0 || errno != EINTR)
            return;
    }
}

/* Writes what can be written now. Descriptor 2 blocks, and that is not ours to
 * change: whoever has the terminal shares it. The same terminal opened once
 * more does not block. */
static void
write_some(const char *text, size_t length)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t written = 0;
    int fd = -1;

    if (isatty(STDERR_FILENO))
        fd = troupe__fd_above_streams(open(
            "/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (fd >= 0) {
        written = write(fd, text, length);
        troupe__fd_close(fd);
    } else if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0) {
        /* Another user's terminal, or no descriptor left. There is room for a
         * line, unless somebody stops it between the two calls. */
        written = write(STDERR_FILENO, text, length);
    }
    (void)written; /* the rest is lost */
}

static void
write_without_signal(void (*write_it)(const char *text, size_t length),
                     const char *text, size_t length)
{
    TROUPE__UNCANCELLED;
    static const struct timespec now;
    int saved = errno;
    sigset_t pipe_signal;
    sigset_t pending;
    sigset_t mask;
    bool was_pending;

    /* A SIGPIPE of ours is taken back before the mask is: it is sent to the
     * thread, which blocks it meanwhile. */
    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask);
    errno = 0;
    write_it(text, length);
    if (errno == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_signal, NULL, &now) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    errno = saved;
}

void
troupe__stderr_write(const char *text, size_t length)
{
    write_without_signal(write_all, text, length);
}

void
troupe__stderr_offer(const char *text, size_t length)
{
    write_without_signal(write_some, text, length);
}
