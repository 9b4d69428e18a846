/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the messages hold, the same for every system. A message starts with a
 * word that names its producer and its number, and ends with a word made of
 * the first one, so that a lost, doubled, reordered or torn message is seen.
 */
#ifndef BENCH_QUEUE_MESSAGE_H
#define BENCH_QUEUE_MESSAGE_H

#include <bench.h>

#include <string.h>

enum { MESSAGE_NUMBER_BITS = 48, PAGE = 4096 };

enum side { SIDE_PRODUCER, SIDE_CONSUMER };

static const uint64_t MESSAGE_END = ~(uint64_t)0;

static inline uint64_t
message_mix(uint64_t word)
{
    return (word ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
}

static inline void
message_stamp(unsigned char *message, size_t size, uint64_t word)
{
    uint64_t last = message_mix(word);

    if (size >= 16)
        memcpy(message + size - 8, &last, 8);
    memcpy(message, &word, 8);
}

/* The first word, after the last one has been checked against it. */
static inline uint64_t
message_check(const unsigned char *message, size_t size)
{
    uint64_t word;
    uint64_t last;

    memcpy(&word, message, 8);
    if (size >= 16) {
        memcpy(&last, message + size - 8, 8);
        bench_check(last == message_mix(word), "a message is torn");
    }
    return word;
}

/* Fills a whole block with words that follow from the seed. */
static inline void
block_fill(uint64_t *block, size_t size, uint64_t seed)
{
    size_t words = size / 8;
    size_t i;

    for (i = 0; i < words; i++)
        block[i] = seed + i;
}

/* Reads a whole block, and checks the sum of it. */
static inline void
block_check(const uint64_t *block, size_t size, uint64_t seed)
{
    uint64_t words = size / 8;
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < words; i++)
        sum += block[i];
    bench_check(sum == words * seed + words * (words - 1) / 2,
                "a block is damaged");
}

/*
 * Checks one word of each page. Which one moves from page to page, or all of
 * them would lie in the same few sets of the cache.
 */
static inline void
block_check_pages(const uint64_t *block, size_t size, uint64_t seed)
{
    size_t pages = size / PAGE;
    size_t page;
    size_t word;

    for (page = 0; page < pages; page++) {
        word = page * (PAGE / 8) + page * 8 % (PAGE / 8);
        bench_check(block[word] == seed + word, "a page is damaged");
    }
}

#endif
