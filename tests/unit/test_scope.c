/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/scope.h>

#include "heap/directory.h"
#include "heap/pages.h"
#include "heap/slab.h"

#include <stdio.h>

struct shared {
    troupe_scope *scope;
    void *blocks[5000];
    uint32_t flags[4];
};

/* Bytes of the arena in use by anything but this thread's cache. */
static uint64_t
used(void)
{
    struct troupe__slot *slot = unit_slot();
    uint64_t free_bytes;
    uint64_t bytes;

    (void)unit_info();
    troupe__slab_recover(troupe__thread_self, slot, troupe__thread_self->index);
    troupe__pages_count(troupe__thread_self, &bytes, &free_bytes);
    return bytes - free_bytes;
}

static size_t
size_of(size_t i)
{
    return i % 7 == 0 ? 10000 + i : i % 200;
}

/* Fills a scope and ends with it in every way. */
static void
fill_scope(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_scope_new(&s->scope), 0);
    for (size_t i = 0; i < 300; i++) {
        s->blocks[i] = troupe_scope_alloc(s->scope, size_of(i));
        CHECK(s->blocks[i] != NULL);
        CHECK_GE(troupe_usable_size(s->blocks[i]), size_of(i));
        memset(s->blocks[i], (int)i, size_of(i));
    }
}

static void
fill_scope_and_stay(void *argument)
{
    struct shared *s = argument;

    fill_scope(s);
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

TEST(scope_frees_its_blocks)
{
    struct shared *s = unit_shared(sizeof(*s));
    uint64_t before = 0;

    for (int i = 0; i < 2; i++) {
        fill_scope(s);
        CHECK_RC(troupe_scope_free(s->scope), 0);
        if (i == 0)
            before = used();
    }
    CHECK_EQ(used(), before);
    for (size_t i = 0; i < 300; i++)
        CHECK_EQ(troupe_usable_size(s->blocks[i]), 0u);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
    CHECK_RC(troupe_scope_free(NULL), 0);
}

TEST(scope_of_a_killed_process_is_freed)
{
    struct shared *s = unit_shared(sizeof(*s));
    uint64_t before = 0;

    for (uint32_t i = 1; i <= 3; i++) {
        pid_t pid = unit_fork(fill_scope_and_stay, s);

        unit_await(&s->flags[0], i);
        unit_kill(pid);
        if (i == 1)
            before = used();
    }
    CHECK_EQ(used(), before);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
}

TEST(scope_of_a_process_that_exited_is_freed)
{
    struct shared *s = unit_shared(sizeof(*s));
    uint64_t before;

    unit_join(unit_fork(fill_scope, s));
    before = used();
    unit_join(unit_fork(fill_scope, s));
    CHECK_EQ(used(), before);
}

TEST(scope_of_five_thousand_blocks)
{
    struct shared *s = unit_shared(sizeof(*s));
    uint64_t before = 0;

    for (int round = 0; round < 2; round++) {
        CHECK_RC(troupe_scope_new(&s->scope), 0);
        for (size_t i = 0; i < 5000; i++) {
            s->blocks[i] = troupe_scope_alloc(s->scope, i % 100);
            CHECK(s->blocks[i] != NULL);
        }
        CHECK_RC(troupe_scope_free(s->scope), 0);
        if (round == 0)
            before = used();
    }
    CHECK_EQ(used(), before);
}

TEST(scope_given_blocks_stay)
{
    struct shared *s = unit_shared(sizeof(*s));

    fill_scope(s);
    for (size_t i = 0; i < 300; i += 3)
        CHECK_RC(troupe_scope_give(s->scope, s->blocks[i]), 0);
    CHECK_RC(troupe_scope_give(s->scope, s->blocks[0]), -EINVAL);
    CHECK_RC(troupe_scope_give(s->scope, NULL), -EINVAL);
    CHECK_RC(troupe_scope_give(s->scope, s), -EINVAL);
    CHECK_RC(troupe_scope_free(s->scope), 0);
    for (size_t i = 0; i < 300; i++) {
        if (i % 3 != 0) {
            CHECK_EQ(troupe_usable_size(s->blocks[i]), 0u);
            continue;
        }
        for (size_t j = 0; j < size_of(i); j++)
            CHECK_EQ(((unsigned char *)s->blocks[i])[j], i & 0xff);
        CHECK_RC(troupe_free(s->blocks[i]), 0);
    }
}

static void
fill_give_and_exit(void *argument)
{
    struct shared *s = argument;

    fill_scope(s);
    for (size_t i = 0; i < 300; i += 2)
        CHECK_RC(troupe_scope_give(s->scope, s->blocks[i]), 0);
}

TEST(scope_given_blocks_survive_its_process)
{
    struct shared *s = unit_shared(sizeof(*s));

    unit_join(unit_fork(fill_give_and_exit, s));
    CHECK_EQ(unit_info().members, 1u);
    for (size_t i = 0; i < 300; i++) {
        if (i % 2 != 0)
            CHECK_EQ(troupe_usable_size(s->blocks[i]), 0u);
        else
            CHECK_RC(troupe_free(s->blocks[i]), 0);
    }
}

TEST(scope_blocks_can_be_freed_early_and_their_memory_used_again)
{
    struct shared *s = unit_shared(sizeof(*s));
    void *elsewhere[300];

    fill_scope(s);
    for (size_t i = 0; i < 300; i += 2) {
        CHECK_RC(troupe_free(s->blocks[i]), 0);
        CHECK_RC(troupe_free(s->blocks[i]), -EINVAL);
    }
    for (size_t i = 0; i < 300; i += 2)
        elsewhere[i] = troupe_alloc(size_of(i));
    CHECK_RC(troupe_scope_free(s->scope), 0);
    /* what they became since is not the scope's */
    for (size_t i = 0; i < 300; i += 2)
        CHECK_RC(troupe_free(elsewhere[i]), 0);
}

/* Old entries may name memory that has become anything of the same scope. */
TEST(scope_that_frees_early_for_long_neither_leaks_nor_grows)
{
    struct shared *s = unit_shared(sizeof(*s));
    uint64_t before = 0;

    for (int round = 0; round < 3; round++) {
        unsigned state = 4711u + (unsigned)round;
        uint64_t after_a_while = 0;

        memset(s->blocks, 0, sizeof(s->blocks));
        CHECK_RC(troupe_scope_new(&s->scope), 0);
        for (int i = 0; i < 300000; i++) {
            size_t which = (size_t)rand_r(&state) % 2500;

            CHECK_RC(troupe_free(s->blocks[which]), 0);
            /* often the size that a page of the scope's list has */
            s->blocks[which] =
                troupe_scope_alloc(s->scope, rand_r(&state) % 2 ? 4000 : 64);
            CHECK(s->blocks[which] != NULL);
            if (i == 100000)
                after_a_while = used();
        }
        /* a sixth of what an entry for each block ever held would take */
        CHECK_LE(used(), after_a_while + 131072);
        CHECK_RC(troupe_scope_free(s->scope), 0);
        if (round == 0)
            before = used();
    }
    CHECK_EQ(used(), before);
}

TEST(scope_realloc_stays_in_the_scope)
{
    troupe_scope *scope;
    char *block;

    CHECK_RC(troupe_scope_new(&scope), 0);
    block = troupe_scope_alloc(scope, 20);
    (void)snprintf(block, 20, "%s", "in the scope");
    for (size_t size = 100; size < 100000; size *= 7) {
        block = troupe_realloc(block, size);
        CHECK_STR(block, "in the scope");
    }
    block = troupe_realloc(block, 13);
    CHECK_STR(block, "in the scope");
    CHECK_RC(troupe_scope_free(scope), 0);
    CHECK_EQ(troupe_usable_size(block), 0u);
    CHECK_RC(troupe_free(block), -EINVAL);
}

static void
use_the_parents(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_scope_free(s->scope), -EXDEV);
    CHECK_RC(troupe_scope_give(s->scope, s->blocks[1]), -EXDEV);
    errno = 0;
    CHECK(troupe_scope_alloc(s->scope, 1) == NULL);
    CHECK_EQ(errno, EXDEV);
    /* a block in somebody else's scope is not ours to free or move */
    CHECK_RC(troupe_free(s->blocks[1]), -EINVAL);
    errno = 0;
    CHECK(troupe_realloc(s->blocks[1], 5) == NULL);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(((unsigned char *)s->blocks[1])[0], 1);
}

TEST(scope_of_another_process_is_refused)
{
    struct shared *s = unit_shared(sizeof(*s));

    fill_scope(s);
    unit_join(unit_fork(use_the_parents, s));
    CHECK_GT(troupe_usable_size(s->blocks[1]), 0u);
    CHECK_RC(troupe_scope_free(s->scope), 0);
}

/* A thread that has not called the library before. */
static void *
free_the_processs(void *argument)
{
    struct shared *s = argument;

    CHECK_GE(troupe_usable_size(s->blocks[1]), 1u);
    CHECK_RC(troupe_free(s->blocks[1]), 0);
    CHECK_EQ(troupe_usable_size(s->blocks[1]), 0u);
    return NULL;
}

TEST(scope_block_is_freed_by_the_first_call_of_a_thread)
{
    struct shared *s = unit_shared(sizeof(*s));
    pthread_t thread;

    fill_scope(s);
    CHECK_EQ(pthread_create(&thread, NULL, free_the_processs, s), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_RC(troupe_scope_free(s->scope), 0);
}

TEST(scope_of_nothing_and_of_what_is_none)
{
    troupe_scope *none[3];
    int local;

    none[0] = (troupe_scope *)(void *)&local;
    none[1] = troupe_alloc(4096);
    none[2] = (troupe_scope *)(uintptr_t)64;
    CHECK_RC(troupe_scope_new(NULL), -EINVAL);
    memset(none[1], 0, 4096);
    for (size_t i = 0; i < 3; i++) {
        CHECK_RC(troupe_scope_free(none[i]), -EINVAL);
        CHECK_RC(troupe_scope_give(none[i], none[1]), -EINVAL);
        errno = 0;
        CHECK(troupe_scope_alloc(none[i], 1) == NULL);
        CHECK_EQ(errno, EINVAL);
    }
    errno = 0;
    CHECK(troupe_scope_alloc(NULL, 1) == NULL);
    CHECK_EQ(errno, EINVAL);
    CHECK_RC(troupe_scope_give(NULL, none[1]), -EINVAL);
}

static void
make_scopes_forever(void *argument)
{
    struct shared *s = argument;

    for (;;) {
        troupe_scope *scopes[50];

        for (size_t i = 0; i < 50; i++) {
            CHECK_RC(troupe_scope_new(&scopes[i]), 0);
            CHECK(troupe_scope_alloc(scopes[i], 100) != NULL);
            unit_raise(&s->flags[0]);
        }
        for (size_t i = 0; i < 50; i++)
            CHECK_RC(troupe_scope_free(scopes[i]), 0);
    }
}

static void
count_one(void *object, void *count)
{
    CHECK(object != NULL);
    ++*(size_t *)count;
}

static size_t
count_scopes(void)
{
    size_t count = 0;

    troupe__directory_walk(TROUPE__KIND_SCOPE, count_one, &count);
    return count;
}

TEST_TIMEOUT(scope_makers_killed_at_random_leave_nothing, 60)
{
    struct shared *s = unit_shared(sizeof(*s));
    troupe_scope *mine;
    uint64_t before = 0;

    CHECK_RC(troupe_scope_new(&mine), 0);
    for (int round = 0; round < 60; round++) {
        pid_t pids[3];

        for (size_t i = 0; i < 3; i++)
            pids[i] = unit_fork(make_scopes_forever, s);
        unit_await(&s->flags[0],
                   s->flags[0] + (uint32_t)(harness_random() % 300));
        for (size_t i = 0; i < 3; i++)
            unit_kill(pids[i]);
        CHECK_EQ(unit_info().members, 1u);
        CHECK_EQ(count_scopes(), 1u);
        if (round == 10)
            before = used();
    }
    CHECK_EQ(used(), before);
    CHECK_RC(troupe_scope_free(mine), 0);
}

TEST(scope_a_thousand_of_them_are_all_in_the_directory)
{
    troupe_scope *scopes[1100];

    for (size_t i = 0; i < 1100; i++)
        CHECK_RC(troupe_scope_new(&scopes[i]), 0);
    CHECK_EQ(count_scopes(), 1100u);
    for (size_t i = 0; i < 1100; i += 2)
        CHECK_RC(troupe_scope_free(scopes[i]), 0);
    CHECK_EQ(count_scopes(), 550u);
    for (size_t i = 0; i < 1100; i += 2)
        CHECK_RC(troupe_scope_new(&scopes[i]), 0);
    CHECK_EQ(count_scopes(), 1100u);
    for (size_t i = 0; i < 1100; i++)
        CHECK_RC(troupe_scope_free(scopes[i]), 0);
    CHECK_EQ(count_scopes(), 0u);
}
