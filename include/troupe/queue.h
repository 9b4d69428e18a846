/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of messages between the members of a family, as Python's
 * multiprocessing.Queue: first in, first out, any number of producers and
 * consumers, bounded.
 *
 *     troupe_queue *queue;
 *     troupe_queue_new(&queue, NULL);
 *     ...
 *     troupe_queue_put(queue, text, strlen(text), TROUPE_FOREVER);
 *
 *     char text[100];                                  (in another member)
 *     size_t size = sizeof(text);
 *     while (troupe_queue_get(queue, text, &size, TROUPE_FOREVER) == 0) {
 *         use(text, size);
 *         size = sizeof(text);
 *     }
 *
 * A queue is a family object: the pointer is valid in every member, may stand
 * in shared structs and may be sent through queues. A message is any number of
 * bytes, none included.
 *
 * There is no thread behind a queue and no buffer before it: when put returns,
 * the message is in shared memory, ordered and visible to all, and the
 * producer may exit. A consumer that joins its producers before it has drained
 * the queue cannot deadlock on that.
 *
 * Order. Messages leave in the order in which they were put; those of one
 * producer in the order in which it put them. What was written to memory
 * before a put is seen after the get of its message.
 *
 * Crash, of a member killed at any instruction:
 *
 *     inside put        the message does not exist, or exists whole; the others
 *                       go on at once
 *     inside get        the message is still there, in its place, or it left
 *                       with the dead: then it is counted in `lost`
 *     between peek and  the message is there again, in its place, its attempt
 *     release           count raised
 *     between reserve   nothing: the memory is reclaimed
 *     and commit
 *     waiting           nothing
 *
 * The end of a stream. A queue does not end by itself unless parties are
 * declared: a member that declares itself a producer (troupe_queue_attach_
 * producer, or the start option .produces of a process) leaves that role by
 * close, by exit or by death, and when the last one has left, consumers get
 * what is there and then -EPIPE. In the same way producers get -EPIPE when the
 * last declared consumer has left. troupe_queue_shutdown() ends a stream by
 * hand. Putting and getting need no declaration; but nobody puts anything
 * behind the end of a stream, where it might never be read: -ESHUTDOWN.
 *
 * All functions are thread-safe, work on both sides of a fork (the child has
 * no leases, reservations and roles of its parent) and are not for signal
 * handlers, where nothing else is said. All return -EINVAL for a NULL queue
 * and for an address that is not a queue, and -ENOMEM, -EUSERS or -EMFILE when
 * the calling thread could not join the family; nothing has happened then.
 * -EBADMSG: the queue's memory was overwritten by somebody; it stays so.
 */
#ifndef TROUPE_QUEUE_H
#define TROUPE_QUEUE_H

#include <sys/uio.h>
#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/time.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_queue troupe_queue;

/* What a message of `size` bytes takes of max_bytes: the message, rounded up,
 * and a constant. */
#define TROUPE_QUEUE_OVERHEAD 16
#define TROUPE_QUEUE_STORED(size) \
 ((((size_t)(size) + 15) & ~(size_t)15) + TROUPE_QUEUE_OVERHEAD)

/* Messages up to this size are kept in the queue itself, larger ones in heap
 * blocks of their own. */
#define TROUPE_QUEUE_SMALL 4096

typedef struct troupe_queue_options {
    size_t size; /* sizeof(struct troupe_queue_options) */

    /* For diagnosis; the first 31 bytes are kept. NULL: no name. */
    const char *name;

    /* Messages the queue holds at most; 0 = no bound but max_bytes. At most
     * 2^30. */
    uint64_t max_items;

    /* Bytes the queue holds at most, every message counted with
     * TROUPE_QUEUE_STORED(); 0 = 1 MiB. At most 16 GiB. A larger message is
     * never accepted. */
    uint64_t max_bytes;

    /* Of max_bytes, how many messages of up to TROUPE_QUEUE_SMALL bytes may
     * take together, each larger one counted with 32 bytes; their memory is
     * allocated with the queue. 0 = max_bytes, but no more than 8 MiB. */
    uint64_t small_bytes;

    /* Declared producers (consumers) to expect: while fewer have come, the
     * departure of all that came is not the end. At most 2^16. A process with
     * the start option .produces (.consumes) has come when its start has
     * returned, or was killed inside, whenever it dies; one that attaches by
     * itself has not come when it dies before that, and nobody can know that it
     * never will: who counts on such members waits with a deadline. */
    uint32_t producers;
    uint32_t consumers;

    /* A promise that one thread at a time puts (gets): saves a lock. Another
     * thread may take over when the first one's last call has returned, or
     * when it has died; release is a get. Breaking the promise corrupts the
     * messages. */
    bool single_producer;
    bool single_consumer;
    uint8_t reserved_[6];
} troupe_queue_options;

/*
 * Makes a queue, empty, for the whole family. It lives until it is freed or
 * the family ends, also when its maker exits.
 *
 * 0; -EINVAL (an option out of range, ret_queue NULL), -E2BIG; -ENOMEM.
 * *ret_queue is set only on 0. Does not block. Killed inside: no queue.
 */
TROUPE_API int troupe_queue_new(troupe_queue **ret_queue,
                                const troupe_queue_options *options);

/*
 * Ends a queue and frees its memory with all messages in it. Nobody may be
 * using it; after troupe_queue_shutdown() and the last user's close that is so.
 * NULL is fine, and so is an address that is no queue: nothing happens.
 * Killed inside: the queue is gone.
 */
TROUPE_API void troupe_queue_free(troupe_queue *queue);

/*
 * Puts a copy of `size` bytes at `data` (NULL only with size 0) at the end of
 * the queue, waiting for room until the deadline.
 *
 *   0            it is in the queue
 *   -EAGAIN      the queue is full, and the deadline was TROUPE_NOW
 *   -ETIMEDOUT   the queue was full until the deadline, or at one try if the
 *                deadline had passed
 *   -EMSGSIZE    TROUPE_QUEUE_STORED(size) is more than max_bytes
 *   -ESHUTDOWN   closed by this member, or shut down by anybody; or the stream
 *                has ended: the last declared producer has left
 *   -EPIPE       the last declared consumer has left
 *   -ENOMEM      no memory for a message larger than TROUPE_QUEUE_SMALL
 *   -ECANCELED   asked to stop, in a stoppable section
 *
 * On failure nothing was put. Woken by room, by shutdown and close, and by the
 * departure of the last consumer or producer: at once, or within a second where
 * the kernel cannot tell of a death. TROUPE_NOW and a deadline that has passed
 * may still wait for members that are inside calls on the same queue, and were
 * interrupted there: up to 50 ms for each lock that a step of the call finds
 * held, less than half a second in all. A member that is stopped there for
 * longer (SIGSTOP) makes the queue look full, or empty, until the deadline.
 * Without a deadline the call waits until that one goes on or dies, or this
 * member closes the queue, or is asked to stop, in a stoppable section.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_queue_put(troupe_queue *queue,
                                                  const void *data, size_t size,
                                                  troupe_deadline deadline);

/*
 * Takes the first message, waiting for one until the deadline. *size is the
 * room at `buffer` (NULL only with room 0) and becomes the message's size.
 *
 *   0            the message is in `buffer`, and no more in the queue
 *   -EAGAIN      the queue is empty, and the deadline was TROUPE_NOW
 *   -ETIMEDOUT   the queue was empty until the deadline, or at one try if the
 *                deadline had passed
 *   -EMSGSIZE    the message is larger than the room: *size says how large it
 *                is, and it stays where it is
 *   -EPIPE       the queue is empty and nobody will put any more: it was shut
 *                down, or the last declared producer has left. While others
 *                lease messages, which may come back, that is not yet so, but
 *                for a thread that leases one itself
 *   -ESHUTDOWN   closed by this member
 *   -ENOMEM      the message is larger than TROUPE_QUEUE_SMALL, and this thread
 *                has too many reservations to hold it meanwhile
 *   -ECANCELED   asked to stop, in a stoppable section
 *
 * On other failures than -EMSGSIZE *size is as it was. Waiting as for put.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_queue_get(troupe_queue *queue,
                                                  void *buffer, size_t *size,
                                                  troupe_deadline deadline);

/*
 * Puts `count` messages, each described by one element, in their order and as
 * far as possible in one go; others' messages may come between them. Waits for
 * room until the deadline (TROUPE_NOW: puts as many as there is room for).
 * *ret_count says how many were put.
 *
 * 0: at least one (or `count` is 0). Otherwise as troupe_queue_put(), for the
 * first message; what stopped the call after the first, it says when called
 * again. Killed inside: a number of messages from the first on exist, whole.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_queue_put_many(troupe_queue *queue, const struct iovec *items,
                      size_t count, size_t *ret_count,
                      troupe_deadline deadline);

/*
 * Takes up to `count` messages: waits for the first as troupe_queue_get() and
 * then takes what is there without waiting. Element i says where message i
 * goes and how much room there is; its iov_len becomes the message's size.
 * Ends before a message for which its room is too short. *ret_count says how
 * many were taken; elements from there on are as they were, but for
 * -EMSGSIZE, which sets the first one's iov_len.
 *
 * 0: at least one (or `count` is 0). Otherwise as troupe_queue_get(). Killed
 * inside: the messages of one go, at most 64, are all still there, or all are
 * counted in `lost`; what the call took in goes before is gone with the dead
 * one's memory, like messages that were got.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_queue_get_many(troupe_queue *queue, struct iovec *items, size_t count,
                      size_t *ret_count, troupe_deadline deadline);

/*
 * Zero-copy, putting side. Reserve gives memory in the heap for a message of up
 * to `size` bytes, aligned to 16, not cleared; the calling thread writes the
 * message there and commits it, or cancels. Where the queue has no room for it,
 * that shows in commit. A thread may hold some 200 reservations.
 *
 * 0; -EMSGSIZE as troupe_queue_put(); -ESHUTDOWN, -EPIPE; -EINVAL (ret_data
 * NULL); -ENOMEM: no memory, or too many reservations. Does not block. A thread
 * that ends or dies gives its reservations back.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_queue_reserve(troupe_queue *queue, size_t size, void **ret_data);

/*
 * Puts the first `size` bytes of a reservation of the calling thread. On 0 the
 * memory is the queue's: it must not be touched any more. On failure the
 * reservation stays, to be committed again or cancelled.
 *
 * As troupe_queue_put(), and -EINVAL: `data` is not a reservation of this
 * thread; -EMSGSIZE also: `size` is more than was reserved. Does not copy what
 * is larger than TROUPE_QUEUE_SMALL.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_queue_commit(troupe_queue *queue,
                                                     void *data, size_t size,
                                                     troupe_deadline deadline);

/* Gives a reservation of the calling thread back. 0; -EINVAL: it is none. Also
 * after close and shutdown. Does not block. */
TROUPE_API int troupe_queue_cancel(troupe_queue *queue, void *data);

/*
 * Zero-copy, getting side. Peek shows the first message that nobody has taken
 * or is looking at, in place, and leases it to the calling thread: the others
 * go on with the messages behind it. The thread may write there. Release takes
 * the message out. A message whose lessee ends or dies is there again, in its
 * place, for the next get or peek.
 *
 * A leased message, and those behind it that were taken meanwhile, count for
 * the queue's bounds until it is released: lease for short.
 *
 * As troupe_queue_get() but for -EMSGSIZE. *ret_data is aligned to 16; with
 * size 0 it must not be read.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_queue_peek(troupe_queue *queue,
                                                   void **ret_data,
                                                   size_t *ret_size,
                                                   troupe_deadline deadline);

/* Ends a lease of the calling thread: the message is taken out of the queue and
 * its memory must not be touched any more. 0; -EINVAL: no message of this queue
 * is leased to this thread there; -ECANCELED: asked to stop, in a stoppable
 * section, while a member was stopped inside a get; the lease stays. Also after
 * close and shutdown. Waits for no longer than others need inside gets; for one
 * that is stopped there (SIGSTOP), until it goes on or dies. Killed inside:
 * released, or leased by a dead. */
TROUPE_API int troupe_queue_release(troupe_queue *queue, void *data);

/* How often a message leased to the calling thread was leased before to
 * somebody who died with it: 0 for the first time, at most 1,023. Cannot fail
 * (0 for what is no lease); does not block. */
TROUPE_API unsigned troupe_queue_attempts(troupe_queue *queue,
                                          const void *data);

/* How many messages there are to get (where one has come back, those behind it
 * count that others lease or have taken); whether there is none; whether a
 * message of no bytes would find no room, by any of the queue's bounds. True at
 * some moment during the call. Cannot fail (0, true, false for what is no
 * queue), do not block; async-signal-safe. */
TROUPE_API size_t troupe_queue_qsize(const troupe_queue *queue);
TROUPE_API bool troupe_queue_empty(const troupe_queue *queue);
TROUPE_API bool troupe_queue_full(const troupe_queue *queue);

/*
 * This member is done with the queue: its threads get -ESHUTDOWN from now on,
 * also those that wait in a call, its roles as producer and consumer end, and
 * descriptors from troupe_queue_fileno() are closed. Leases and reservations of
 * its threads stay and are ended by release and cancel.
 *
 * 0, also when it was closed before; -ENOMEM: no memory to note it, nothing
 * happened; -ECANCELED: asked to stop, in a stoppable section, while a member
 * was stopped inside such a call, nothing happened. Waits for others inside
 * close and attach, and a start that declares: for no longer than they need
 * there, but for one that is stopped there (SIGSTOP) until it goes on or dies.
 */
TROUPE_API int troupe_queue_close(troupe_queue *queue);

/* Nobody puts any more: put is -ESHUTDOWN for all, get drains the queue and is
 * then -EPIPE; who waits is woken. A put that is under way gets its message in
 * before the end, or is -ESHUTDOWN. Cannot be undone. 0, also when it was shut
 * down before. Does not block. */
TROUPE_API int troupe_queue_shutdown(troupe_queue *queue);

/*
 * Declares this member a producer (a consumer) until it closes the queue, exits
 * or dies. See "the end of a stream" above. 0, also when it is one already;
 * -EPIPE: the last declared one has left before, the stream has ended;
 * -ESHUTDOWN: closed by this member, or (a producer) shut down; -ENOMEM;
 * -ECANCELED as, and waits for others as, troupe_queue_close().
 */
TROUPE_API int troupe_queue_attach_producer(troupe_queue *queue);
TROUPE_API int troupe_queue_attach_consumer(troupe_queue *queue);

/* What a descriptor tells. */
#define TROUPE_QUEUE_GET 0 /* a get or peek may find something */
#define TROUPE_QUEUE_PUT 1 /* a put may find room */

/*
 * A descriptor for poll, epoll and event loops: it becomes readable when the
 * state changes so that a call of that side may succeed (or fail for good).
 * Level-triggered, and a hint: the caller then uses the TROUPE_NOW form until
 * that says -EAGAIN, which makes the descriptor unreadable again. Nothing else
 * may be done with it. Also told within the time of a death: members that die
 * with a message put and nobody told.
 *
 * The descriptor belongs to the queue and this member: each call gives the
 * same one, close and free close it, and a fork child asks for its own (its
 * copy of the parent's is closed by its first call of this function).
 *
 * 0; -EINVAL (another side, ret_fd NULL); -ESHUTDOWN: closed by this member;
 * -EMFILE, -ENFILE, -ENOMEM, -ENOTSUP: no descriptor, memory or name for a
 * socket. Does not block.
 */
TROUPE_API int troupe_queue_fileno(troupe_queue *queue, int side, int *ret_fd);

typedef struct troupe_queue_info {
    size_t size;        /* sizeof(struct troupe_queue_info), set by caller */
    uint64_t max_items; /* 0: no bound */
    uint64_t max_bytes;
    uint64_t small_bytes;
    uint64_t items;       /* in the queue, leased ones included */
    uint64_t bytes;       /* that they take of max_bytes */
    uint64_t puts;        /* messages put since the queue was made */
    uint64_t gets;        /* messages taken out and released */
    uint64_t lost;        /* of these, taken by members that died in get */
    uint64_t redelivered; /* leases that came back from the dead */
    uint32_t leased;      /* messages leased at this moment */
    uint32_t producers;   /* declared and alive */
    uint32_t consumers;
    bool shut_down;
    bool producers_gone; /* the last declared one has left */
    bool consumers_gone;
    uint8_t reserved_;
    char name[32];
} troupe_queue_info;

/* Fills in figures about the queue, each exact at some moment during the call;
 * of a struct with another size than this library's the fields that both know,
 * the rest with 0. 0; -EINVAL: NULL or no size at all. Waits for others inside
 * calls on the queue, up to 50 ms for each of its locks; what it cannot count
 * then is a guess (bytes, items, gets) or 0 (leased, producers, consumers). */
TROUPE_API int troupe_queue_info_get(troupe_queue *queue,
                                     troupe_queue_info *info);

TROUPE_END_DECLS

#endif
