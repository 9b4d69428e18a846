/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenarios of pools share. */
#ifndef TROUPE_TESTS_CRASH_POOL_COMMON_H
#define TROUPE_TESTS_CRASH_POOL_COMMON_H

#include "common.h"

#include <troupe/pool.h>

#include <sys/types.h>

enum {
    WORD_STATUS,  /* of the victim's call, or of all of them */
    WORD_STEPPED, /* a worker has been stepped, or has died by itself */
    WORD_TAKING,  /* the victim takes a value, and has not freed it */
    WORD_CREATOR, /* pids */
    WORD_WORKER,
    WORD_COMERS, /* workers that came to a map */
    WORD_BEGUN = 16,
    GATE_IN_TASK = 5,
    GATE_LEAVE_TASK,
    GATE_ALL_READY
};

extern troupe_pool *pool;
extern troupe_imap *stream;

troupe_pool *make_pool(uint32_t processes);

/* The worker in the place of the table; waits until it is there. */
pid_t await_worker(uint32_t place);

/* Squares of an int. */
int square(const void *item, void *result, void *context);
/* Six of them; 0 if all are right. */
int map_squares(troupe_pool *with);

/* Items of `size` bytes, each with a pattern of its own. */
struct feed {
    unsigned given;
    unsigned count;
    size_t size;
};

unsigned char pattern_of(uint64_t index);
int next_pattern(void *arg, troupe_item *ret_item);

/* Returns as much of its item as its context, a size_t, says; fails if the item
 * is not what the source gave. */
int task_part(troupe_task *task, void *context);
/* Opens GATE_IN_TASK, and never returns. */
int task_sleeping(troupe_task *task, void *context);

/* Starts `task` on all of the feed, with a context for task_part(). */
void start_stream(troupe_task_function *task, struct feed *feed,
                  size_t value_size, uint32_t retries, uint32_t window);

/* setup() for a victim that makes the pool: maps and streams have come and gone
 * before the heap was counted. */
void setup_past(void);
/* setup() for a victim that is a worker of the stage's pool. */
void setup_pool(void);
void setup_pair(void); /* with two workers */

/* prepare() of a victim that is the creator. */
void prepare_pool(void);
void prepare_pair(void); /* with two workers */
/* The only worker has died, and nobody has looked. */
void prepare_dead(void);
/* It is in a task of a stream that has more items. */
void prepare_in(troupe_task_function *task);
void prepare_busy(void); /* task_sleeping */
extern struct feed busy_feed;

/* Stores what the victim's calls came to. */
void victim_says(int status);
/* 0, or -EPROTO if the pool counts other deaths than those. */
int count_deaths(uint32_t workers_lost, uint64_t interrupted);
/* 0, or -EPROTO if a child is left. */
int no_child(void);

void survive(void);

/* Waits until nobody but the stage is left. */
void check_alone(void);
/* The call did what it should, and nothing stays. */
void check_status(void);
/* The same, where the victim may have died with so many blocks in its hands. */
void check_hands(unsigned hands);

/* The pool goes on with a new worker, and leaves nothing when it is freed. */
void end_pool(void);
/* Its figures, in the stage. */
troupe_pool_info figures(void);
/* One worker was lost, and so many attempts with it. */
void check_figures(uint64_t interrupted);
/* What is told of a lost task's last worker. */
void check_killer(pid_t worker, int32_t pid, int32_t signal);

/* A second victim that settles what the first one left. */
void second_settles(void);
/* prepare() and second_prepare(): a creator that was killed takes its worker
 * with it, and only then there is all to settle. */
void prepare_known(void);
void await_family_dead(void);

#endif
