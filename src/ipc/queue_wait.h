/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting at one side of a queue.
 *
 *     troupe__queue_wait_begin(&wait, ...);
 *     for (;;) {
 *         troupe__queue_wait_spin(&wait, ...);
 *         seen = troupe__eventword_prepare(event);
 *         try; break unless it would block
 *         wait.owners, wait.dying = on whose death to look again
 *         status = troupe__queue_wait_sleep(&wait, seen);
 *         if (status < 0)
 *             break;
 *     }
 *     others = troupe__queue_wait_end(&wait);
 */
#ifndef TROUPE_SRC_IPC_QUEUE_WAIT_H
#define TROUPE_SRC_IPC_QUEUE_WAIT_H

#include "heap/wait.h"
#include "ipc/queue.h"

struct troupe__queue_wait {
    struct troupe__wait wait;
    struct troupe__eventword *event;
    /* Threads whose death ends the sleep. */
    uint64_t owners[TROUPE__WAIT_OWNERS];
    unsigned owner_count;
    /* Somebody that matters is on its way out, with nothing to sleep on until
     * it is gone: looks often. */
    bool dying;
    bool spun;
    int64_t began; /* when it first looked in vain; 0: not yet */
    int64_t pause;
};

void troupe__queue_wait_begin(struct troupe__queue_wait *wait,
                              struct troupe__thread *self, troupe_queue *queue,
                              unsigned side, troupe_deadline deadline);

/* Before the first sleep, and where another processor can be running the other
 * side: looks for a while whether *word becomes another than *seen. */
void troupe__queue_wait_spin(struct troupe__queue_wait *wait,
                             const uint64_t *word, const uint64_t *seen);

/* As troupe__wait_sleep(). */
int troupe__queue_wait_sleep(struct troupe__queue_wait *wait, uint32_t seen);

/* True: others wait here too. The caller signals if there is more for them. */
bool troupe__queue_wait_end(struct troupe__queue_wait *wait);

#endif
