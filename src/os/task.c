/* SPDX-License-Identifier: Apache-2.0 */
#include "os/task.h"

#include "base/atomic.h"
#include "os/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
# define SYS_pidfd_open 434
#endif

int32_t
troupe__task_tid(void)
{
    return (int32_t)syscall(SYS_gettid);
}

int32_t
troupe__task_pid(void)
{
    /* Not the libc's: a child made by a raw clone may inherit a cached one. */
    return (int32_t)syscall(SYS_getpid);
}

uint64_t
troupe__task_namespace(void)
{
    struct stat st;

    if (stat("/proc/self/ns/pid", &st) != 0 || st.st_ino == 0)
        return 1;
    return st.st_ino;
}

/* A /proc that was mounted for another pid namespace tells about processes
 * which have nothing but the number in common with those meant here. */
static bool
proc_is_ours(void)
{
    char text[16];
    ssize_t got = readlink("/proc/self", text, sizeof(text) - 1);

    if (got <= 0)
        return false;
    text[got] = '\0';
    return strtol(text, NULL, 10) == troupe__task_pid();
}

uint64_t
troupe__task_start_time(int32_t pid)
{
    char path[32];
    char text[1024];
    char *field;
    ssize_t got;
    int fd;
    int i;

    if (!proc_is_ours())
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    /* The name, field 2, may hold blanks and parentheses: count from the last
     * one. The start time is field 22. */
    field = strrchr(text, ')');
    for (i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

uint64_t
troupe__task_moment(void)
{
    static uint64_t per_second; /* constant: asked for once, and by a parent */
    uint64_t ticks = troupe__load_relaxed(&per_second);
    struct timespec now;

    if (ticks == 0) {
        ticks = (uint64_t)sysconf(_SC_CLK_TCK);
        troupe__store_relaxed(&per_second, ticks);
    }
    /* The kernel rounds start times down, so the same process is never seen to
     * have started after a moment of its own. */
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * ticks +
           (uint64_t)now.tv_nsec / (UINT64_C(1000000000) / ticks);
}

int
troupe__task_open(int32_t pid)
{
    int fault = TROUPE__FAULT("pidfd_open");
    long fd;

    if (fault != 0)
        return -fault;
    fd = syscall(SYS_pidfd_open, pid, 0u);
    return fd < 0 ? -errno : (int)fd;
}

bool
troupe__task_exists(int32_t id)
{
    return id > 0 && (kill(id, 0) == 0 || errno != ESRCH);
}

/* Whether the process that has this pid now has ended. */
static bool
has_ended(int32_t pid)
{
    struct pollfd p;
    bool ended;

    p.fd = troupe__task_open(pid);
    if (p.fd == -ESRCH)
        return true;
    /* Without a descriptor (none left, or a kernel before 5.3) a zombie cannot
     * be told from a process that runs. */
    if (p.fd < 0)
        return !troupe__task_exists(pid);
    p.events = POLLIN;
    p.revents = 0;
    ended = poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
    close(p.fd);
    return ended;
}

bool
troupe__task_ended(int32_t pid, uint64_t moment)
{
    uint64_t now;

    if (pid <= 0)
        return false;
    if (has_ended(pid))
        return true;
    if (moment == 0)
        return false;
    now = troupe__task_start_time(pid);
    return now > moment; /* the pid is another's by now */
}

bool
troupe__task_maps(int32_t pid, const struct troupe__file_id *file)
{
    char path[32];
    char line[512];
    unsigned long device[2];
    unsigned long inode;
    bool any = false;
    bool found = false;
    FILE *maps;

    if (!proc_is_ours())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    if (maps == NULL)
        return true;
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        /* The rest of a line too long to be ours looks like none. */
        if (sscanf(line, "%*x-%*x %*4s %*x %lx:%lx %lu", &device[0], &device[1],
                   &inode) != 3)
            continue;
        any = true;
        found = inode == file->inode && device[0] == major(file->device) &&
                device[1] == minor(file->device);
    }
    (void)fclose(maps);
    return found || !any;
}

void
troupe__task_name(char *name, uint32_t size)
{
    char comm[16] = "";

    (void)prctl(PR_GET_NAME, comm, 0, 0, 0);
    (void)snprintf(name, size, "%s", comm);
}
