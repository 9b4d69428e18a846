/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status a call returns.
 *
 *     0     done.
 *     < 0   a negated errno, or a negated TROUPE_E... code: nothing happened.
 *     > 0   a TROUPE_... outcome: it happened, and there is something to know.
 *
 * One call has done something when it fails: troupe_pool_map(), given up half
 * way by its deadline, a stop or the end of its pool, has run some of its
 * tasks, and their results are there. That it was given up is what the caller
 * must see, and what was done would have to be done again otherwise.
 *
 * So `if (status < 0)` is the test for failure, and a positive status is never
 * an error: TROUPE_OWNER_DIED means that the caller holds the lock.
 *
 * The words used, one meaning each:
 *
 *     -EINVAL           an argument is not allowed; nothing was looked at
 *     -E2BIG            an option is set that this library does not know
 *     -EFAULT           the memory must lie in the heap and does not
 *     -ENOMEM           no memory, or the heap's limit
 *     -EUSERS           all thread slots of the family are taken
 *     -EMFILE           no descriptor left in this process
 *     -ENFILE           none left in the system
 *     -EAGAIN           would block: empty, full, not finished
 *     -ETIMEDOUT        the deadline passed
 *     -ECANCELED        this process was asked to stop, see troupe/process.h
 *     -EPIPE            the other side is gone for good
 *     -ESHUTDOWN        closed by this process, or shut down
 *     -EMSGSIZE         an item too large for its queue or its buffer
 *     -EPERM            not held, or not the holder
 *     -ECHILD           not a child of the caller
 *     -ESRCH            not started
 *     -ENOENT           there is none
 *     -EBADF            no open descriptor
 *     -EBUSY            in use
 *     -EXDEV            a local handle used in another process
 *     -EBADMSG          the object's shared memory was overwritten
 *     -ENOTRECOVERABLE  given up on: its holder died and nobody repaired it
 *     -ENOTSUP          not in this process or on this system
 */
#ifndef TROUPE_ERROR_H
#define TROUPE_ERROR_H

#include <errno.h>
#include <troupe/base.h>

TROUPE_BEGIN_DECLS

/* Outcomes. */
#define TROUPE_OWNER_DIED   1 /* acquired; the holder before died holding it */
#define TROUPE_END          2 /* there are no more */
#define TROUPE_TASKS_FAILED 3 /* all tasks ended, some without a value */

/* Codes where errno has no word; like errno they are returned negated. They
 * lie above every errno. */
#define TROUPE_EBROKEN     5000 /* a barrier was broken */
#define TROUPE_EWORKERLOST 5001 /* the worker running the task died */

/* One line of text for a status, in English. The text is static; the call
 * cannot fail, never blocks, and is safe in threads, after fork and in signal
 * handlers. An unknown status gives "unknown status". */
TROUPE_API const char *troupe_strerror(int status);

/* The status's name as the programmer writes it: "-ETIMEDOUT",
 * "TROUPE_OWNER_DIED", "0". Static text; "?" for an unknown status. */
TROUPE_API const char *troupe_error_name(int status);

/* What exactly went wrong in the last failed control call of this thread
 * (creating, starting, opening; never a put or an acquire): which process,
 * which stage, which limit. "" when there is nothing to add. The text belongs
 * to the library and lasts until the next control call of the thread. */
TROUPE_API const char *troupe_error_detail(void);

TROUPE_END_DECLS

#endif
