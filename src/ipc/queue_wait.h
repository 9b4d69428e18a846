/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting at one side of a queue: first look for a moment, then sleep.
 *
 *     troupe__queue_look_begin(&look, ...);
 *     while (troupe__queue_look(&look, ...))
 *         try; return unless it would block
 *     troupe__queue_wait_begin(&wait, ...);
 *     for (;;) {
 *         seen = troupe__eventword_prepare(event);
 *         try; break unless it would block
 *         wait.owners, wait.dying = on whose death to look again
 *         status = troupe__queue_wait_sleep(&wait, seen);
 *         if (status < 0)
 *             break;
 *     }
 *     others = troupe__queue_wait_end(&wait);
 *
 * Who only looks is not in the event word: nobody wakes it in vain.
 */
#ifndef TROUPE_SRC_IPC_QUEUE_WAIT_H
#define TROUPE_SRC_IPC_QUEUE_WAIT_H

#include "heap/wait.h"
#include "ipc/queue.h"

struct troupe__queue_look {
    struct troupe__thread *self;
    troupe_deadline until;
    bool polled;
};

void troupe__queue_look_begin(struct troupe__queue_look *look,
                              struct troupe__thread *self,
                              troupe_deadline deadline);

/* Looks until *word is another than *seen, or the moment is over: false. */
bool troupe__queue_look(struct troupe__queue_look *look, const uint64_t *word,
                        const uint64_t *seen);

struct troupe__queue_wait {
    struct troupe__wait wait;
    struct troupe__eventword *event;
    /* Threads whose death ends the sleep. */
    uint64_t owners[TROUPE__WAIT_OWNERS];
    unsigned owner_count;
    /* Somebody that matters is on its way out, with nothing to sleep on until
     * it is gone: looks often. */
    bool dying;
    int64_t pause;
};

void troupe__queue_wait_begin(struct troupe__queue_wait *wait,
                              struct troupe__thread *self, troupe_queue *queue,
                              unsigned side, troupe_deadline deadline);

/* As troupe__wait_sleep(). */
int troupe__queue_wait_sleep(struct troupe__queue_wait *wait, uint32_t seen);

/* True: others wait here too. The caller signals if there is more for them. */
bool troupe__queue_wait_end(struct troupe__queue_wait *wait);

#endif
