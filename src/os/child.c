/* SPDX-License-Identifier: Apache-2.0 */
#include "os/child.h"

#include "os/fault.h"
#include "os/fd.h"
#include "os/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
# define SYS_pidfd_send_signal 424
#endif

/* An enumerator where the libc knows it, so it cannot be asked for. */
#define WAIT_PIDFD ((idtype_t)3)

/* Of linux/pidfd.h, in the first size that it had. */
struct pidfd_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};

#define INFO_EXIT UINT64_C(8)
#define INFO_GET  _IOWR(0xff, 11, struct pidfd_info)

int32_t
troupe__child_fork(void)
{
    int fault = TROUPE__FAULT("fork");
    pid_t pid;

    if (fault != 0)
        return -fault;
    pid = fork();
    return pid < 0 ? -errno : pid;
}

int
troupe__child_open(int32_t pid)
{
    return troupe__fd_above_streams(troupe__task_open(pid));
}

bool
troupe__child_is_ours(int pidfd)
{
    siginfo_t info;

    return waitid(WAIT_PIDFD, (id_t)pidfd, &info,
                  WEXITED | WNOHANG | WNOWAIT) == 0;
}

void
troupe__child_undo(int32_t pid)
{
    /* By its number, for want of a descriptor. It waits at its gate, so it does
     * not end by itself; and the number is not given anew before the child is
     * reaped. The host could reap it only after a third had killed it, in these
     * few instructions. */
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* Exit code of a wait status. */
static int
status_code(int status)
{
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Looks for the end of a child; si_pid 0: there is nothing. */
static int
look(int pidfd, siginfo_t *ret_info, int flags)
{
    int status;

    do {
        memset(ret_info, 0, sizeof(*ret_info));
        status = waitid(WAIT_PIDFD, (id_t)pidfd, ret_info,
                        WEXITED | WNOHANG | flags);
    } while (status != 0 && errno == EINTR);
    return status != 0 ? -errno : 0;
}

int
troupe__child_reap(int pidfd, int *ret_code)
{
    siginfo_t info;
    int status;

    /* Who traces the child is told of its stops too, whatever is asked for;
     * they are not to be taken away. */
    status = look(pidfd, &info, WNOWAIT);
    if (status == 0 && info.si_code != CLD_EXITED &&
        info.si_code != CLD_KILLED && info.si_code != CLD_DUMPED)
        return 0;
    if (status == 0)
        status = look(pidfd, &info, 0);
    if (status < 0)
        return status;
    if (info.si_pid == 0)
        return 0;
    *ret_code =
        info.si_code == CLD_EXITED ? info.si_status & 0xff : -info.si_status;
    return 1;
}

bool
troupe__child_recall(int pidfd, int *ret_code)
{
    struct pidfd_info info;

    if (TROUPE__FAULT("pidfd_get_info") != 0)
        return false;
    memset(&info, 0, sizeof(info));
    info.mask = INFO_EXIT;
    if (ioctl(pidfd, INFO_GET, &info) != 0 || (info.mask & INFO_EXIT) == 0)
        return false;
    *ret_code = status_code(info.exit_code);
    return true;
}

int
troupe__child_signal(int pidfd, int signo)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0u) != 0)
        return -errno;
    return 0;
}

int
troupe__child_dead_fd(void)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    return fd < 0 ? -errno : troupe__fd_above_streams(fd);
}

int
troupe__life_pipe(int *ret_read, int *ret_write)
{
    int fault = TROUPE__FAULT("pipe");
    int ends[2];

    if (fault != 0)
        return -fault;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -errno;
    ends[0] = troupe__fd_above_streams(ends[0]);
    ends[1] = troupe__fd_above_streams(ends[1]);
    if (ends[0] < 0 || ends[1] < 0) {
        int error = ends[0] < 0 ? ends[0] : ends[1];

        if (ends[0] >= 0)
            (void)close(ends[0]);
        if (ends[1] >= 0)
            (void)close(ends[1]);
        return error;
    }
    *ret_read = ends[0];
    *ret_write = ends[1];
    return 0;
}

int
troupe__life_arm(int read_end)
{
    struct pollfd p = {.fd = read_end, .events = POLLIN};

    if (fcntl(read_end, F_SETOWN, getpid()) != 0 ||
        fcntl(read_end, F_SETSIG, SIGKILL) != 0 ||
        fcntl(read_end, F_SETFL, O_ASYNC | O_NONBLOCK) != 0)
        return -errno;
    /* The parent that died before the signal was armed. */
    while (poll(&p, 1, 0) < 0 && errno == EINTR)
        ;
    return (p.revents & POLLHUP) != 0 ? -EPIPE : 0;
}

void
troupe__child_null_stdin(void)
{
    int fd;

    /* Closed first, so that in the ordinary case the new one is 0. */
    (void)close(STDIN_FILENO);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd == STDIN_FILENO) {
        (void)fcntl(fd, F_SETFD, 0); /* a stream is kept over exec */
    } else if (fd > STDIN_FILENO) {
        (void)dup2(fd, STDIN_FILENO);
        (void)close(fd);
    }
}

void
troupe__child_set_comm(const char *name)
{
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
}

unsigned
troupe__child_threads(void)
{
    struct stat st;

    /* One link for each, and two as every directory has. */
    if (stat("/proc/self/task", &st) != 0 || st.st_nlink < 3)
        return 0;
    return (unsigned)(st.st_nlink - 2);
}

uint64_t
troupe__child_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}
