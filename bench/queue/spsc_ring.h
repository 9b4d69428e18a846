/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yardstick:spsc: a bare ring of bytes between one producer and one consumer.
 * No lock, no deadline, no end, no check of what it reads, no death survived.
 * Each side polls for a moment where the other can run, then yields, then
 * sleeps, for at most 100 ms.
 */
#ifndef BENCH_QUEUE_SPSC_RING_H
#define BENCH_QUEUE_SPSC_RING_H

#include <bench.h>

#include <sched.h>
#include <string.h>

enum {
    SPSC_SPINS = 256,
    SPSC_YIELDS = 8,
    SPSC_RECORD = 8, /* the length, before each message; records align to it */
};

struct spsc_ring {
    uint64_t capacity; /* a power of two */
    uint64_t bound;    /* bytes in use at most */
    uint64_t spins;
    /* Written by the producer. */
    uint64_t tail __attribute__((aligned(BENCH_LINE)));
    uint64_t head_seen;
    /* Written by the consumer. */
    uint64_t head __attribute__((aligned(BENCH_LINE)));
    uint64_t tail_seen;
    uint32_t producer_sleeps __attribute__((aligned(BENCH_LINE)));
    uint32_t consumer_sleeps __attribute__((aligned(BENCH_LINE)));
    unsigned char bytes[] __attribute__((aligned(BENCH_LINE)));
};

static inline uint64_t
spsc_room_of(size_t size)
{
    return SPSC_RECORD + ((size + 7) & ~(uint64_t)7);
}

static inline struct spsc_ring *
spsc_new(size_t size, int can_poll)
{
    uint64_t bound = bench_depth(size) * spsc_room_of(size);
    uint64_t capacity = 4096;
    struct spsc_ring *ring;

    while (capacity < bound)
        capacity *= 2;
    ring = (struct spsc_ring *)bench_shared(sizeof *ring + capacity);
    memset(ring, 0, sizeof *ring + capacity);
    ring->capacity = capacity;
    ring->bound = bound;
    ring->spins = can_poll ? SPSC_SPINS : 0;
    return ring;
}

/* Waits until the other side has moved its index on from what was seen. */
static inline uint64_t
spsc_wait(struct spsc_ring *ring, const uint64_t *index, uint64_t seen,
          uint32_t *sleeps)
{
    uint64_t now;
    uint64_t i;

    for (i = 0; i < ring->spins + SPSC_YIELDS; i++) {
        now = __atomic_load_n(index, __ATOMIC_ACQUIRE);
        if (now != seen)
            return now;
        if (i < ring->spins)
            bench_pause();
        else
            sched_yield();
    }
    for (;;) {
        __atomic_store_n(sleeps, 1, __ATOMIC_RELAXED);
        /* Against the fence in spsc_moved(): one of the two is seen. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        now = __atomic_load_n(index, __ATOMIC_ACQUIRE);
        if (now != seen) {
            __atomic_store_n(sleeps, 0, __ATOMIC_RELAXED);
            return now;
        }
        bench_futex_wait(sleeps, 1, 100000000);
    }
}

/* After an index was stored: is the other side asleep? */
static inline void
spsc_moved(uint32_t *sleeps)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(sleeps, __ATOMIC_RELAXED), 0)) {
        __atomic_store_n(sleeps, 0, __ATOMIC_RELAXED);
        bench_futex_wake(sleeps, 1);
    }
}

static inline void
spsc_copy_in(struct spsc_ring *ring, uint64_t at, const void *data, size_t size)
{
    uint64_t start = at & (ring->capacity - 1);
    size_t first = ring->capacity - start;

    if (__builtin_expect(first >= size, 1)) {
        memcpy(ring->bytes + start, data, size);
        return;
    }
    memcpy(ring->bytes + start, data, first);
    memcpy(ring->bytes, (const unsigned char *)data + first, size - first);
}

static inline void
spsc_copy_out(struct spsc_ring *ring, uint64_t at, void *data, size_t size)
{
    uint64_t start = at & (ring->capacity - 1);
    size_t first = ring->capacity - start;

    if (__builtin_expect(first >= size, 1)) {
        memcpy(data, ring->bytes + start, size);
        return;
    }
    memcpy(data, ring->bytes + start, first);
    memcpy((unsigned char *)data + first, ring->bytes, size - first);
}

static inline void
spsc_put(struct spsc_ring *ring, const void *data, size_t size)
{
    uint64_t need = spsc_room_of(size);
    uint64_t tail = ring->tail;
    uint64_t length = size;

    while (tail + need - ring->head_seen > ring->bound) {
        uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

        if (head == ring->head_seen)
            head = spsc_wait(ring, &ring->head, head, &ring->producer_sleeps);
        ring->head_seen = head;
    }
    memcpy(ring->bytes + (tail & (ring->capacity - 1)), &length, 8);
    spsc_copy_in(ring, tail + SPSC_RECORD, data, size);
    /* release: pairs with the acquire of tail in spsc_get() */
    __atomic_store_n(&ring->tail, tail + need, __ATOMIC_RELEASE);
    spsc_moved(&ring->consumer_sleeps);
}

static inline size_t
spsc_get(struct spsc_ring *ring, void *data, size_t size)
{
    uint64_t head = ring->head;
    uint64_t length;

    if (head == ring->tail_seen) {
        uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

        if (tail == head)
            tail = spsc_wait(ring, &ring->tail, tail, &ring->consumer_sleeps);
        ring->tail_seen = tail;
    }
    memcpy(&length, ring->bytes + (head & (ring->capacity - 1)), 8);
    bench_check(length <= size, "a message of %llu bytes",
                (unsigned long long)length);
    spsc_copy_out(ring, head + SPSC_RECORD, data, length);
    /* release: pairs with the acquire of head in spsc_put() */
    __atomic_store_n(&ring->head, head + spsc_room_of(length),
                     __ATOMIC_RELEASE);
    spsc_moved(&ring->producer_sleeps);
    return length;
}

#endif
