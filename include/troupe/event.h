/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event: a flag that members wait for, as Python's multiprocessing.Event.
 *
 *     troupe_event_wait(&shared->ready, TROUPE_FOREVER);   (in one member)
 *     troupe_event_set(&shared->ready);                    (in another)
 *
 * The struct is visible so that it can stand inside any struct in the heap; a
 * zeroed one is ready and not set. Its fields are the library's.
 *
 * A wait returns when the event was set at any moment during the wait, also
 * when it was cleared again at once (Python's may miss that).
 *
 * Crash: a member killed while setting leaves the event set or not set; one
 * killed while waiting leaves nothing to notice; nobody misses a set that
 * returned.
 */
#ifndef TROUPE_EVENT_H
#define TROUPE_EVENT_H

#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/time.h>

TROUPE_BEGIN_DECLS

/* Private: declared only so that it can be embedded. */
typedef struct troupe_event {
    uint64_t word_;
    uint64_t pollers_;
    uint64_t reserved_[2];
} troupe_event;

/* Makes an event that is not set. A zeroed struct needs no such call. 0;
 * -EINVAL (NULL, misaligned). Never blocks. */
TROUPE_API int troupe_event_init(troupe_event *event);

/* Ends the use of an event and gives back what troupe_event_fileno() took in
 * the heap; it is zeroed. Nobody may be waiting. NULL is fine. */
TROUPE_API void troupe_event_fini(troupe_event *event);

/* Sets the event and wakes everybody who waits for it. 0; -EINVAL. Never
 * blocks; thread-safe; async-signal-safe; needs no membership. The memory of an
 * event that was never polled may go as soon as a waiter has seen the set; that
 * of one with a descriptor only when this has returned. */
TROUPE_API int troupe_event_set(troupe_event *event);

/* Clears the event. Those whom a set has woken still return 0. 0; -EINVAL.
 * Never blocks; thread-safe; async-signal-safe. */
TROUPE_API int troupe_event_clear(troupe_event *event);

/* Whether the event is set at this moment. Cannot fail (NULL: false), never
 * blocks; async-signal-safe. */
TROUPE_API bool troupe_event_is_set(const troupe_event *event);

/*
 * Waits until the event is set.
 *
 *   0            it was set at some moment since the call began
 *   -ETIMEDOUT   it was not, and the deadline passed
 *   -ECANCELED   asked to stop, in a stoppable section
 *   -EINVAL      NULL or misaligned
 *   -ENOMEM, -EUSERS, -EMFILE, -ENFILE, -ENOTSUP
 *                 this thread could not join the family
 *
 * What was written before the set is seen after a wait that returned 0.
 * Thread-safe; usable after fork; not for signal handlers.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_event_wait(troupe_event *event,
                                                   troupe_deadline deadline);

/*
 * A descriptor for poll, epoll and event loops: it becomes readable when the
 * event may have been set. Level-triggered, and a hint: the caller then uses
 * troupe_event_wait(event, TROUPE_NOW), which makes the descriptor unreadable
 * again if it says -ETIMEDOUT. Nothing else may be done with it. It is told
 * also when the member that sets the event dies before it could tell; because a
 * process that has not joined may set it too, it becomes readable every second.
 *
 * The descriptor belongs to the event and this member: each call gives the same
 * one, and a fork child asks for its own. troupe_event_fini() closes that of
 * the calling member; where another member has ended the event it is closed
 * when this one next makes a descriptor. Members of one network namespace can
 * tell each other. A process can have 500 descriptors of events and queues, of
 * which epoll takes 100 (a limit of the kernel), and poll all.
 *
 * 0; -EINVAL (NULL, misaligned); -EMFILE, -ENFILE, -ENOMEM, -ENOTSUP: no
 * descriptor, memory or name for a socket; -ENOMEM, -EUSERS, -EMFILE: this
 * thread could not join the family. Waits for nobody but threads of this
 * process that are in the same function, and for memory. */
TROUPE_API int troupe_event_fileno(troupe_event *event, int *ret_fd);

TROUPE_END_DECLS

#endif
