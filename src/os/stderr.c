/* SPDX-License-Identifier: Apache-2.0 */
#include "os/stderr.h"

#include "os/cancel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

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

void
troupe__stderr_write(const char *text, size_t length)
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
    write_all(text, length);
    if (errno == EPIPE && !was_pending)
        while (sigtimedwait(&pipe_signal, NULL, &now) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    errno = saved;
}
