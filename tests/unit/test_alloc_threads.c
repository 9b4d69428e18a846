/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator, scopes and the directory among the threads of one process.
 */
#include "unit.h"

#include <troupe/lock.h>
#include <troupe/scope.h>

#include "heap/directory.h"

#define THREADS 4
#define ENTRIES 32

struct entry {
    troupe_lock lock;
    unsigned char *block;
    size_t size;
    unsigned char seed;
};

struct data {
    struct entry entries[ENTRIES];
    uint32_t seeds;
};

static void
run(void *(*body)(void *), void *argument)
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, argument), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static size_t
random_size(unsigned *state)
{
    size_t most = rand_r(state) % 8 == 0 ? 40000 : 400;

    return (size_t)rand_r(state) % most;
}

static void
step(struct entry *e, unsigned *state)
{
    CHECK_RC(troupe_lock_acquire(&e->lock, TROUPE_FOREVER), 0);
    if (e->block != NULL)
        for (size_t i = 0; i < e->size; i += 7)
            CHECK_EQ(e->block[i], e->seed);
    if (e->block != NULL && rand_r(state) % 2 == 0) {
        CHECK_RC(troupe_free(e->block), 0);
        e->block = NULL;
    } else {
        e->size = random_size(state);
        e->seed = (unsigned char)rand_r(state);
        e->block = troupe_realloc(e->block, e->size);
        CHECK(e->block != NULL);
        memset(e->block, e->seed, e->size);
    }
    CHECK_RC(troupe_lock_release(&e->lock), 0);
}

static void *
follow_the_model(void *argument)
{
    struct data *d = argument;
    unsigned state = __atomic_fetch_add(&d->seeds, 1u, __ATOMIC_RELAXED);

    for (int i = 0; i < 1500; i++)
        step(&d->entries[(unsigned)rand_r(&state) % ENTRIES], &state);
    return NULL;
}

TEST(alloc_threads_agree_with_a_model)
{
    struct data *d = unit_shared(sizeof(*d));

    d->seeds = (uint32_t)harness_random();
    run(follow_the_model, d);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_RC(troupe_free(d->entries[i].block), 0);
}

static void *
use_scopes(void *argument)
{
    (void)argument;
    for (int i = 0; i < 100; i++) {
        troupe_scope *scope;
        unsigned char *kept = NULL;

        CHECK_RC(troupe_scope_new(&scope), 0);
        for (size_t j = 0; j < 60; j++) {
            unsigned char *block = troupe_scope_alloc(scope, j * 10);

            CHECK(block != NULL);
            memset(block, (int)j, j * 10);
            if (j == 30)
                kept = block;
        }
        CHECK_RC(troupe_scope_give(scope, kept), 0);
        CHECK_RC(troupe_scope_free(scope), 0);
        CHECK_EQ(kept[0], 30);
        CHECK_RC(troupe_free(kept), 0);
    }
    return NULL;
}

TEST(alloc_threads_with_scopes)
{
    run(use_scopes, NULL);
}

/* Blocks go from one thread to the next without any lock. */
struct pipe {
    unsigned char *blocks[THREADS];
    uint32_t turns[THREADS];
};

static struct pipe pipes;
static uint32_t next_thread;

static void *
pass_on(void *unused)
{
    uint32_t me = __atomic_fetch_add(&next_thread, 1u, __ATOMIC_RELAXED);
    uint32_t next = (me + 1) % THREADS;

    (void)unused;
    for (uint32_t i = 0; i < 500; i++) {
        unsigned char *block = troupe_alloc(i % 300);

        CHECK(block != NULL);
        memset(block, (int)i, i % 300);
        /* give to the next, take from the one before, free that */
        pipes.blocks[next] = block;
        unit_raise(&pipes.turns[next]);
        unit_await(&pipes.turns[me], 2 * i + 1);
        if (i % 300 != 0)
            CHECK_EQ(pipes.blocks[me][0], i & 0xff);
        CHECK_RC(troupe_free(pipes.blocks[me]), 0);
        unit_raise(&pipes.turns[me]);
        unit_await(&pipes.turns[next], 2 * i + 2);
    }
    return NULL;
}

TEST(alloc_threads_free_each_others_blocks)
{
    next_thread = 0;
    memset(&pipes, 0, sizeof(pipes));
    run(pass_on, NULL);
}

static void *
come_and_go(void *unused)
{
    for (int i = 0; i < 20; i++) {
        void *block = troupe_alloc(100);

        CHECK(block != NULL);
        CHECK_RC(troupe_free(block), 0);
    }
    return unused;
}

TEST(alloc_threads_that_come_and_go)
{
    for (int i = 0; i < 30; i++)
        run(come_and_go, NULL);
    CHECK_EQ(unit_info().threads, 1u);
}

/* Slabs are listed and figures asked for while another thread lengthens the
 * arena: for ThreadSanitizer to look at. */
static void *
grow_list_and_count(void *unused)
{
    void *small[500];

    for (int round = 0; round < 6; round++) {
        for (size_t i = 0; i < 500; i++) {
            small[i] = troupe_alloc(200);
            CHECK(small[i] != NULL);
        }
        CHECK(troupe_alloc(3 * 1048576) != NULL);
        CHECK_GT(unit_info().committed, 3 * UINT64_C(1048576));
        for (size_t i = 0; i < 500; i++)
            CHECK_RC(troupe_free(small[i]), 0);
    }
    return unused;
}

TEST(alloc_threads_that_list_slabs_while_the_arena_grows)
{
    run(grow_list_and_count, NULL);
}
