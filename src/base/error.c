/* SPDX-License-Identifier: Apache-2.0 */
#include <troupe/error.h>

#include "base/macros.h"

struct status {
    int value;
    const char *name;
    const char *text;
};

/* The vocabulary of troupe/error.h, and what the system may hand through. */
static const struct status table[] = {
    {0, "0", "success"},
    {TROUPE_OWNER_DIED, "TROUPE_OWNER_DIED",
     "acquired, but a former holder died holding it"},
    {TROUPE_END, "TROUPE_END", "there are no more"},
    {TROUPE_TASKS_FAILED, "TROUPE_TASKS_FAILED",
     "all tasks have ended, some without a value"},
    {-TROUPE_EBROKEN, "-TROUPE_EBROKEN", "the barrier is broken"},
    {-TROUPE_EWORKERLOST, "-TROUPE_EWORKERLOST",
     "the worker running the task died"},
    {-EINVAL, "-EINVAL", "invalid argument"},
    {-E2BIG, "-E2BIG", "an option is set that this library does not know"},
    {-EFAULT, "-EFAULT", "memory that is not in the shared heap"},
    {-ENOMEM, "-ENOMEM", "out of memory"},
    {-EUSERS, "-EUSERS", "all thread slots of the family are taken"},
    {-EAGAIN, "-EAGAIN", "would block"},
    {-ETIMEDOUT, "-ETIMEDOUT", "the deadline passed"},
    {-ECANCELED, "-ECANCELED", "canceled: this process was asked to stop"},
    {-EPIPE, "-EPIPE", "the other side is gone"},
    {-ESHUTDOWN, "-ESHUTDOWN", "closed or shut down"},
    {-EMSGSIZE, "-EMSGSIZE", "item too large"},
    {-EPERM, "-EPERM", "not held, or not by the caller"},
    {-ECHILD, "-ECHILD", "not a child of this process"},
    {-EBUSY, "-EBUSY", "in use"},
    {-EXDEV, "-EXDEV", "belongs to another process"},
    {-ENOTRECOVERABLE, "-ENOTRECOVERABLE",
     "its holder died and the data was not repaired"},
    {-ENOTSUP, "-ENOTSUP", "not supported"},
    {-ENOENT, "-ENOENT", "no such thing"},
    {-ESRCH, "-ESRCH", "no such process"},
    {-EMFILE, "-EMFILE", "too many open files in this process"},
    {-ENFILE, "-ENFILE", "too many open files in the system"},
    {-EACCES, "-EACCES", "permission denied"},
    {-EEXIST, "-EEXIST", "exists already"},
    {-EINTR, "-EINTR", "interrupted by a signal"},
    {-EIO, "-EIO", "input/output error"},
    {-EBADF, "-EBADF", "bad file descriptor"},
    {-EPROTO, "-EPROTO", "malformed data"},
    {-EBADMSG, "-EBADMSG", "shared memory was overwritten"},
    {-EKEYREJECTED, "-EKEYREJECTED", "authentication failed"},
    {-EOVERFLOW, "-EOVERFLOW", "value too large"},
    {-EDEADLK, "-EDEADLK", "would deadlock"},
    {-ENOSYS, "-ENOSYS", "the system does not have this call"},
};

static const struct status *
find(int status)
{
    unsigned i;

    for (i = 0; i < TROUPE__COUNT(table); i++)
        if (table[i].value == status)
            return &table[i];
    return NULL;
}

const char *
troupe_strerror(int status)
{
    const struct status *s = find(status);

    return s == NULL ? "unknown status" : s->text;
}

const char *
troupe_error_name(int status)
{
    const struct status *s = find(status);

    return s == NULL ? "?" : s->name;
}
