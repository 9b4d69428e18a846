/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenarios of the queue share: items that are known by their content,
 * queues in all states, and those who wait at them. */
#ifndef TROUPE_TESTS_CRASH_QUEUE_COMMON_H
#define TROUPE_TESTS_CRASH_QUEUE_COMMON_H

#include "common.h"

#include <troupe/queue.h>

enum {
    LARGE = 6000, /* more than a queue keeps in itself */
    FIRST = 1,    /* items of the setup; those of others follow */
    VICTIM = 50,
    SECOND = 80,
    SURVIVOR = 100,
    BUFFER = 8192,
    MANY = 4
};

/* WORD_CAME: there is a second victim. The rest is the scenarios' own. */
enum { WORD_STATUS, WORD_LARGE, WORD_CAME, WORD_OWN };

/* The queue of the scenario, made by its setup. */
extern troupe_queue *queue;

/* A number, and bytes that follow from it. */
struct item {
    uint32_t number;
    unsigned char bytes[BUFFER - sizeof(uint32_t)];
};

size_t item_size(uint32_t number);
size_t item_fill(struct item *item, uint32_t number);
int put(uint32_t number, troupe_deadline deadline);
int get(troupe_deadline deadline);
void must_put(uint32_t number);
void must_get(void);

/* The default of the scenarios, in small. */
#define SMALL_QUEUE .max_bytes = 32768, .small_bytes = 8192

/* Counts the heap's blocks, all that a queue takes having got its slabs. */
void count_heap(void);
void make(const troupe_queue_options *options);
void setup_empty(void);
void setup_large(void);
void setup_two(void);
void setup_full(void);
void setup_three(void);
void setup_three_large(void);
void setup_single(void);
void setup_single_three(void);

/*
 * What victims put is ready before, and what they get is looked at in few
 * places: every instruction of theirs is stepped.
 */
extern struct item ready;

int put_ready(troupe_deadline deadline);
void looked_at(const struct item *item, size_t size);
int get_ready(troupe_deadline deadline);
void prepare_second(void);
void prepare_second_put(void);
void second_put(void);
void second_get(void);

/* ---- survivors, and what ends a sleep of the victim ---- */

void survivor_put(void);
void survivor_get(void);
void survivor_put_get(void);
void survivor_put_if_none(void);
void survivor_put_two(void);
void survivor_try(void);
void settle(void);
void survivor_get_if_full(void);
void survivor_gets_two(void);
void survivor_shuts_down(void);
void survivor_ends_party(void);
bool nudge_shutdown(unsigned n);
bool nudge_party_dies(unsigned n);
bool nudge_put_two(unsigned n);
bool nudge_get_two(unsigned n);
bool nudge_get_many(unsigned n);

/* ---- peers ---- */

void peer_get_sleeps(void);
void peer_put_sleeps(void);
void peer_get_until_end(void);
void peer_put_until_end(void);
void peer_put_refused(void);
/* Peer 0 for nudge_party_dies(): the only declared party of its side. */
void peer_consumes_nothing(void);
void peer_produces_nothing(void);
void peer_get_polls(void);
void peer_get_polls_until_end(void);
void peer_put_polls(void);
void peer_put_polls_until_end(void);
void peer_put_polls_refused(void);

/* ---- a heap with nothing left for a queue, its tables or large items ---- */

/* With blocks of these three and down to a size: of each class that is filled
 * slabs stay elsewhere than before, so that what can be counted changes with
 * what else is there meanwhile. */
void fill_heap(size_t smallest);
/* In check(): frees all of it. */
void empty_heap(void);

/* ---- checks, for the stage ---- */

/* Everything that is left, in order, at most `hands` items having died with
 * consumers; then the queue goes, and nothing is left in the heap. */
void check(unsigned hands);
/* Producers may die: nothing that is there gets lost. */
void check_put(void);
void check_put_filled(void);
/* A consumer that dies inside may take one item with it; so may the second. */
void check_get(void);
void check_put_get(void);
void check_get_get(void);
/* 1 if a second victim came and did not complete. */
unsigned second_died(void);

#endif
