/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/lock.h>
#include <troupe/scope.h>

#include "heap/alloc.h"
#include "heap/directory.h"
#include "heap/pages.h"
#include "heap/slab.h"

#define MIB ((size_t)1 << 20)

static void
fill(void *block, size_t size, unsigned seed)
{
    unsigned char *bytes = block;

    for (size_t i = 0; i < size; i += 1 + i / 64)
        bytes[i] = (unsigned char)(seed + i);
    if (size != 0)
        bytes[size - 1] = (unsigned char)seed;
}

static bool
is_filled(const void *block, size_t size, unsigned seed)
{
    const unsigned char *bytes = block;

    if (size != 0 && bytes[size - 1] != (unsigned char)seed)
        return false;
    for (size_t i = 0; i + 1 < size; i += 1 + i / 64)
        if (bytes[i] != (unsigned char)(seed + i))
            return false;
    return true;
}

/* Bytes of the arena in use by anything, once the dead are recovered and this
 * thread, which got their blocks, has no cache any more. */
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

TEST(alloc_every_size_gives_an_aligned_block_of_its_own)
{
    size_t sizes[6000];
    void *blocks[6000];
    size_t count = 0;

    for (size_t size = 0; size <= 4200; size++)
        sizes[count++] = size;
    for (size_t size = 8192; size <= 8 * MIB; size *= 2) {
        sizes[count++] = size - 1;
        sizes[count++] = size;
        sizes[count++] = size + 1;
    }
    for (size_t i = 0; i < count; i++) {
        blocks[i] = troupe_alloc(sizes[i]);
        CHECK(blocks[i] != NULL);
        CHECK_EQ((uintptr_t)blocks[i] % 16, 0u);
        CHECK(troupe_heap_contains(blocks[i], sizes[i]));
        CHECK_GE(troupe_usable_size(blocks[i]), sizes[i]);
        fill(blocks[i], troupe_usable_size(blocks[i]), (unsigned)i);
    }
    for (size_t i = 0; i < count; i++)
        CHECK(is_filled(blocks[i], troupe_usable_size(blocks[i]), (unsigned)i));
    for (size_t i = 0; i < count; i++)
        CHECK_RC(troupe_free(blocks[i]), 0);
}

TEST(alloc_multiples_of_a_cache_line_are_aligned_to_it)
{
    for (size_t size = 64; size <= 8192; size += 64) {
        void *block = troupe_alloc(size);

        CHECK_EQ((uintptr_t)block % 64, 0u);
        CHECK_RC(troupe_free(block), 0);
    }
}

TEST(alloc_classes_waste_at_most_a_quarter)
{
    for (size_t size = 1; size <= TROUPE__LARGEST_SMALL; size++) {
        uint32_t size_class = troupe__class_of(size);

        CHECK_LT(size_class, TROUPE__CLASSES);
        CHECK_GE(troupe__class_size(size_class), size);
        if (size > 64)
            CHECK_LE(troupe__class_size(size_class), size + size / 4);
        if (size_class > 0)
            CHECK_LT(troupe__class_size(size_class - 1), size);
    }
}

TEST_TIMEOUT(alloc_gigabyte, 120)
{
    size_t size = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2 * 4096;
    unsigned char *block;

    if (size > 1024 * MIB)
        size = 1024 * MIB;
    block = troupe_alloc(size);
    CHECK(block != NULL);
    block[0] = 1;
    block[size / 2] = 2;
    block[size - 1] = 3;
    CHECK_EQ(troupe_usable_size(block), size);
    CHECK_RC(troupe_free(block), 0);
    /* the next one takes the same memory, not more of it */
    CHECK(troupe_alloc(size) == block);
}

TEST(alloc_more_than_there_is_fails)
{
    static const size_t sizes[] = {
        SIZE_MAX,     SIZE_MAX - 1,    SIZE_MAX - 4095, SIZE_MAX - 4096,
        SIZE_MAX / 2, (size_t)1 << 47, (size_t)1 << 36, ((size_t)1 << 36) - 1,
    };
    void *small = troupe_alloc(1);

    CHECK(small != NULL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        errno = 0;
        CHECK(troupe_alloc(sizes[i]) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(troupe_realloc(small, sizes[i]) == NULL);
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(troupe_usable_size(small), 16u);
    }
    CHECK_RC(troupe_free(small), 0);
}

TEST(alloc_of_nothing_is_a_block)
{
    void *a = troupe_alloc(0);
    void *b = troupe_alloc(0);

    CHECK(a != NULL);
    CHECK(b != NULL);
    CHECK(a != b);
    CHECK_RC(troupe_free(a), 0);
    CHECK_RC(troupe_free(b), 0);
}

TEST(calloc_clears_and_sees_overflow)
{
    for (size_t size = 1; size < 200000; size = size * 3 + 1) {
        unsigned char *block = troupe_alloc(size);

        CHECK(block != NULL);
        memset(block, 0xff, troupe_usable_size(block));
        CHECK_RC(troupe_free(block), 0);
        block = troupe_calloc(1, size);
        CHECK(block != NULL);
        for (size_t i = 0; i < size; i++)
            CHECK_EQ(block[i], 0);
        CHECK_RC(troupe_free(block), 0);
    }
    errno = 0;
    CHECK(troupe_calloc(SIZE_MAX / 2 + 2, 2) == NULL);
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK(troupe_calloc((size_t)1 << 33, (size_t)1 << 33) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK(troupe_calloc(0, 8) != NULL);
    CHECK(troupe_calloc(8, 0) != NULL);
    CHECK(troupe_calloc(0, SIZE_MAX) != NULL);
}

TEST(strdup_copies)
{
    char *text = troupe_strdup("a text");
    char *empty = troupe_strdup("");

    CHECK_STR(text, "a text");
    CHECK_STR(empty, "");
    errno = 0;
    CHECK(troupe_strdup(NULL) == NULL);
    CHECK_EQ(errno, EINVAL);
    CHECK_RC(troupe_free(text), 0);
    CHECK_RC(troupe_free(empty), 0);
}

TEST(realloc_keeps_what_was_in_the_block)
{
    static const size_t sizes[] = {0,    1,     16,   17,     4000,   128, 8192,
                                   8193, 70000, 9000, 300000, 150001, 5,   0};
    void *block = troupe_realloc(NULL, 3);
    size_t had = 3;

    CHECK(block != NULL);
    fill(block, had, 9);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t keep = had < sizes[i] ? had : sizes[i];
        unsigned char *copy = malloc(had + 1);

        CHECK(copy != NULL);
        memcpy(copy, block, had);
        block = troupe_realloc(block, sizes[i]);
        CHECK(block != NULL);
        CHECK_GE(troupe_usable_size(block), sizes[i]);
        CHECK_MEM(block, copy, keep);
        free(copy);
        fill(block, sizes[i], (unsigned)i);
        had = sizes[i];
    }
    CHECK_RC(troupe_free(block), 0);
}

TEST(realloc_stays_where_it_fits)
{
    void *block = troupe_alloc(16);

    for (size_t size = 0; size <= 16; size++)
        CHECK(troupe_realloc(block, size) == block);
    CHECK_RC(troupe_free(block), 0);
    block = troupe_alloc(1 * MIB);
    CHECK(troupe_realloc(block, MIB / 2) == block);
    CHECK(troupe_realloc(block, MIB) == block);
    CHECK_RC(troupe_free(block), 0);
}

/* Addresses that are no blocks. */
static size_t
wild_addresses(void *block, void *freed, void **ret)
{
    static char global[64];
    unsigned char *bytes = block;
    size_t usable = troupe_usable_size(block);
    unsigned char *base = (unsigned char *)(uintptr_t)troupe__family.base;
    size_t count = 0;

    ret[count++] = (void *)1;
    ret[count++] = (void *)16;
    ret[count++] = (void *)UINTPTR_MAX;
    ret[count++] = (void *)(UINTPTR_MAX - 15);
    ret[count++] = global;
    ret[count++] = &count;
    ret[count++] = bytes + 1;
    ret[count++] = bytes + 8;
    if (usable > 16)
        ret[count++] = bytes + 16;
    if (usable > 4096)
        ret[count++] = bytes + 4096;
    ret[count++] = bytes - 16;
    ret[count++] = base;
    ret[count++] = base + TROUPE__MEMBERS_OFFSET;
    ret[count++] = base + TROUPE__SLOTS_OFFSET;
    ret[count++] = base + TROUPE__PAGES_OFFSET;
    ret[count++] = base + troupe__family.window - 16;
    ret[count++] = base + troupe__family.window;
    ret[count++] = base - 16;
    ret[count++] = freed;
    return count;
}

TEST(free_of_what_is_no_block_is_refused)
{
    static const size_t sizes[] = {16, 100, 5000, 9000, 100000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *block = troupe_alloc(sizes[i]);
        void *freed = troupe_alloc(sizes[i]);
        void *wild[32];
        size_t count;
        uint64_t before;

        CHECK(block != NULL);
        CHECK_RC(troupe_free(freed), 0);
        fill(block, sizes[i], 7);
        before = used();
        count = wild_addresses(block, freed, wild);
        for (size_t j = 0; j < count; j++) {
            /* the neighbour of a block may be one */
            if (wild[j] == block - 16 && troupe_usable_size(wild[j]) != 0)
                continue;
            CHECK_RC(troupe_free(wild[j]), -EINVAL);
            CHECK_EQ(troupe_usable_size(wild[j]), 0u);
            errno = 0;
            CHECK(troupe_realloc(wild[j], 10) == NULL);
            CHECK_EQ(errno, EINVAL);
        }
        CHECK_EQ(used(), before);
        CHECK(is_filled(block, sizes[i], 7));
        CHECK_RC(troupe_free(block), 0);
        CHECK_RC(troupe_free(block), -EINVAL);
        CHECK_RC(troupe_free(block), -EINVAL);
    }
    CHECK_RC(troupe_free(NULL), 0);
    CHECK_EQ(troupe_usable_size(NULL), 0u);
}

TEST(free_of_the_librarys_own_memory_is_refused)
{
    troupe_scope *scopes[600];
    const struct troupe__directory_page *root;
    void *page;

    /* enough that the directory has a second page */
    for (size_t i = 0; i < 600; i++) {
        CHECK_RC(troupe_scope_new(&scopes[i]), 0);
        CHECK_RC(troupe_free(scopes[i]), -EINVAL);
        CHECK_EQ(troupe_usable_size(scopes[i]), 0u);
    }
    root = &troupe__family.heap->directory;
    CHECK_NE(root->next, 0u);
    page = troupe__family_at(root->next);
    CHECK_RC(troupe_free(page), -EINVAL);
    for (size_t i = 0; i < 600; i++)
        CHECK_RC(troupe_scope_free(scopes[i]), 0);
    CHECK_RC(troupe_free(scopes[0]), -EINVAL);
    CHECK_RC(troupe_scope_free(scopes[0]), -EINVAL);
}

struct hand_over {
    void *blocks[500];
    uint32_t flags[4];
};

static void
allocate_and_exit(void *argument)
{
    struct hand_over *h = argument;

    for (unsigned i = 0; i < 500; i++) {
        h->blocks[i] = troupe_alloc((size_t)i * 37);
        CHECK(h->blocks[i] != NULL);
        fill(h->blocks[i], (size_t)i * 37, i);
    }
}

TEST(alloc_blocks_survive_the_death_of_their_maker)
{
    struct hand_over *h = unit_shared(sizeof(*h));

    unit_join(unit_fork(allocate_and_exit, h));
    CHECK_EQ(unit_info().members, 1u); /* and its record is recovered */
    for (unsigned i = 0; i < 500; i++) {
        CHECK_GE(troupe_usable_size(h->blocks[i]), (size_t)i * 37);
        CHECK(is_filled(h->blocks[i], (size_t)i * 37, i));
    }
    for (unsigned i = 0; i < 500; i++)
        CHECK_RC(troupe_free(h->blocks[i]), 0);
}

static void
free_all(void *argument)
{
    struct hand_over *h = argument;

    for (unsigned i = 0; i < 500; i++)
        CHECK_RC(troupe_free(h->blocks[i]), 0);
    for (unsigned i = 0; i < 500; i++)
        CHECK_RC(troupe_free(h->blocks[i]), -EINVAL);
}

TEST(free_of_another_members_blocks)
{
    struct hand_over *h = unit_shared(sizeof(*h));
    uint64_t before;

    allocate_and_exit(h);
    free_all(h);
    before = used();
    for (int round = 0; round < 10; round++) {
        unit_join(unit_fork(allocate_and_exit, h));
        unit_join(unit_fork(free_all, h));
    }
    CHECK_EQ(used(), before);
}

/*
 * A model: a table of blocks, an entry of which only the holder of its lock
 * touches, and in which stands what must be in the block.
 */
#define ENTRIES 64

struct entry {
    troupe_lock lock;
    void *block;
    size_t size;
    uint32_t seed;
};

struct model {
    struct entry entries[ENTRIES];
    uint32_t steps;
    uint32_t seeds;
};

static size_t
random_size(unsigned *state)
{
    unsigned r = (unsigned)rand_r(state);

    switch (r % 8) {
    case 0:
        return (size_t)rand_r(state) % 300000;
    case 1:
    case 2:
        return (size_t)rand_r(state) % 9000;
    default:
        return (size_t)rand_r(state) % 300;
    }
}

static void
step(struct entry *e, unsigned *state)
{
    CHECK_GE(troupe_lock_acquire(&e->lock, TROUPE_FOREVER), 0);
    if (e->block != NULL)
        CHECK(is_filled(e->block, e->size, e->seed));
    if (e->block != NULL && rand_r(state) % 2 == 0) {
        CHECK_RC(troupe_free(e->block), 0);
        e->block = NULL;
    } else {
        e->size = random_size(state);
        e->block = troupe_realloc(e->block, e->size);
        CHECK(e->block != NULL);
        e->seed = (uint32_t)rand_r(state);
        fill(e->block, e->size, e->seed);
    }
    CHECK_RC(troupe_lock_release(&e->lock), 0);
}

static void *
run_model(void *argument)
{
    struct model *m = argument;
    unsigned state = 1000 + __atomic_fetch_add(&m->seeds, 1u, __ATOMIC_RELAXED);

    for (uint32_t i = 0; i < m->steps; i++)
        step(&m->entries[(unsigned)rand_r(&state) % ENTRIES], &state);
    return NULL;
}

static void
run_model_in_threads(void *argument)
{
    pthread_t threads[2];

    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run_model, argument), 0);
    (void)run_model(argument);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void
check_model(struct model *m)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        struct entry *e = &m->entries[i];

        if (e->block != NULL) {
            CHECK(is_filled(e->block, e->size, e->seed));
            CHECK_RC(troupe_free(e->block), 0);
        }
    }
}

TEST_TIMEOUT(alloc_agrees_with_a_model_in_processes_and_threads, 60)
{
    struct model *m = unit_shared(sizeof(*m));
    pid_t pids[3];

    m->steps = 3000;
    m->seeds = (uint32_t)harness_random();
    for (size_t i = 0; i < 3; i++)
        pids[i] = unit_fork(run_model_in_threads, m);
    for (size_t i = 0; i < 3; i++)
        unit_join(pids[i]);
    check_model(m);
}

/* Every class and some runs, through a scope, without an end. */
static void
churn_in_a_scope(void *argument)
{
    struct hand_over *h = argument;
    unsigned state = (unsigned)getpid();
    void *blocks[100] = {NULL};
    troupe_scope *scope;

    CHECK_RC(troupe_scope_new(&scope), 0);
    for (uint32_t i = 0;; i++) {
        size_t which = (unsigned)rand_r(&state) % 100;

        if (blocks[which] != NULL)
            CHECK_RC(troupe_free(blocks[which]), 0);
        blocks[which] = troupe_scope_alloc(scope, random_size(&state));
        CHECK(blocks[which] != NULL);
        __atomic_store_n(&h->flags[0], i, __ATOMIC_RELAXED);
        if (i % 500 == 499) {
            CHECK_RC(troupe_scope_free(scope), 0);
            memset(blocks, 0, sizeof(blocks));
            CHECK_RC(troupe_scope_new(&scope), 0);
        }
    }
}

TEST_TIMEOUT(alloc_what_killed_processes_held_comes_back, 60)
{
    struct hand_over *h = unit_shared(sizeof(*h));
    uint64_t before = 0;

    for (int round = 0; round < 150; round++) {
        unsigned progress = (unsigned)(harness_random() % 700);
        pid_t pid;

        h->flags[0] = 0;
        pid = unit_fork(churn_in_a_scope, h);
        while (__atomic_load_n(&h->flags[0], __ATOMIC_RELAXED) < progress)
            (void)sched_yield();
        unit_kill(pid);
        /* by then every class has its first slab */
        if (round == 30)
            before = used();
    }
    CHECK_EQ(used(), before);
    CHECK_EQ(unit_info().members, 1u);
    CHECK_EQ(unit_info().threads, 1u);
}

static void *
allocate_much(void *argument)
{
    struct hand_over *h = argument;
    unsigned state = 1;

    while (__atomic_load_n(&h->flags[0], __ATOMIC_SEQ_CST) == 0) {
        void *block = troupe_alloc(random_size(&state));

        CHECK(block != NULL);
        CHECK_RC(troupe_free(block), 0);
    }
    return NULL;
}

static void
allocate_some(void *unused)
{
    unsigned state = 2;

    (void)unused;
    for (int i = 0; i < 50; i++) {
        void *block = troupe_alloc(random_size(&state));

        CHECK(block != NULL);
        CHECK_RC(troupe_free(block), 0);
    }
}

TEST_TIMEOUT(alloc_fork_while_other_threads_allocate, 60)
{
    struct hand_over *h = unit_shared(sizeof(*h));
    pthread_t threads[2];

    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, allocate_much, h), 0);
    for (int i = 0; i < 200; i++)
        unit_join(unit_fork(allocate_some, NULL));
    unit_raise(&h->flags[0]);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(alloc_stops_at_the_limit)
{
    troupe_heap_options options = {.size = sizeof(options),
                                   .limit = 3 * MIB + 5};
    void *blocks[3000];
    size_t count = 0;
    size_t again = 0;

    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK_EQ(unit_info().limit, 3 * MIB);
    for (; count < 3000; count++) {
        errno = 0;
        blocks[count] = troupe_alloc(5000);
        if (blocks[count] == NULL)
            break;
        memset(blocks[count], 1, 5000);
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK_GT(count, 500u);
    CHECK_LE(count * 5000, 3 * MIB);
    errno = 0;
    CHECK(troupe_alloc(100000) == NULL);
    CHECK_EQ(errno, ENOMEM);
    for (size_t i = 0; i < count; i++)
        CHECK_RC(troupe_free(blocks[i]), 0);
    for (; again < count; again++) {
        blocks[again] = troupe_alloc(5000);
        CHECK(blocks[again] != NULL);
    }
    for (size_t i = 0; i < again; i++)
        CHECK_RC(troupe_free(blocks[i]), 0);
    CHECK(troupe_alloc(2 * MIB) != NULL);
}

TEST(alloc_without_any_memory_fails_and_the_rest_works)
{
    troupe_heap_options options = {.size = sizeof(options), .limit = 1};
    troupe_lock lock = {0};
    troupe_scope *scope;

    CHECK_RC(troupe_heap_setup(&options), 0);
    errno = 0;
    CHECK(troupe_alloc(0) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK_RC(troupe_scope_new(&scope), -ENOMEM);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_lock_release(&lock), 0);
}

/* A free run at the end of the arena that is long enough, but stands behind
 * more runs of its bin than are looked at. */
TEST(alloc_finds_a_run_at_the_end_deep_in_its_bin)
{
    troupe_heap_options options = {
        .size = sizeof(options),
        .limit = (40 * (33 + 3) + 45) * UINT64_C(4096),
    };
    void *runs[40];
    void *between[40];
    void *last;

    CHECK_RC(troupe_heap_setup(&options), 0);
    for (size_t i = 0; i < 40; i++) {
        runs[i] = troupe_alloc(33 * 4096);
        between[i] = troupe_alloc(3 * 4096);
        CHECK(runs[i] != NULL);
        CHECK(between[i] != NULL);
    }
    last = troupe_alloc(45 * 4096);
    CHECK(last != NULL);
    CHECK(troupe_alloc(3 * 4096) == NULL);
    CHECK_RC(troupe_free(last), 0);
    for (size_t i = 0; i < 40; i++)
        CHECK_RC(troupe_free(runs[i]), 0);
    CHECK(troupe_alloc(40 * 4096) == last);
    for (size_t i = 0; i < 40; i++)
        CHECK_RC(troupe_free(between[i]), 0);
}

TEST(alloc_free_neighbours_are_merged)
{
    troupe_heap_options options = {.size = sizeof(options),
                                   .limit = 60 * UINT64_C(4096)};
    unsigned char *runs[20];
    static const size_t orders[][20] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19},
        {19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
        {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19},
        {7, 3, 19, 0, 11, 15, 1, 9, 5, 13, 2, 18, 6, 10, 14, 4, 8, 12, 16, 17},
    };

    CHECK_RC(troupe_heap_setup(&options), 0);
    for (size_t order = 0; order < 4; order++) {
        void *whole;

        for (size_t i = 0; i < 20; i++) {
            runs[i] = troupe_alloc(3 * 4096);
            CHECK(runs[i] != NULL);
        }
        CHECK(troupe_alloc(9000) == NULL);
        for (size_t i = 0; i < 20; i++)
            CHECK_RC(troupe_free(runs[orders[order][i]]), 0);
        whole = troupe_alloc(60 * 4096);
        CHECK(whole != NULL);
        CHECK_RC(troupe_free(whole), 0);
    }
}

TEST_TIMEOUT(alloc_large_blocks_under_a_storm_of_signals, 60)
{
    unsigned char *block;

    harness_storm(300);
    block = troupe_alloc(192 * MIB);
    harness_storm(0);
    CHECK(block != NULL);
    for (size_t i = 0; i < 192 * MIB; i += 4096)
        block[i] = 1;
    CHECK_RC(troupe_free(block), 0);
}

/* What a wild store of another member may do to this thread's slot and to the
 * class lists: errors are allowed, a crash or a block given twice is not. */
TEST(alloc_survives_a_damaged_magazine)
{
    struct troupe__slot *slot = unit_slot();
    uint32_t size_class = troupe__class_of(48);
    void *mine = troupe_alloc(48);
    void *other = troupe_alloc(100);
    void *block;

    CHECK(mine != NULL);
    slot->magazine_count[size_class] = 0x7fffffff;
    block = troupe_alloc(48);
    CHECK(block != NULL);
    CHECK(block != mine);
    /* an entry that names a live block, one of another class, none at all */
    slot->magazine[size_class][0] = troupe__block_record(mine);
    slot->magazine[size_class][1] = troupe__block_record(other);
    slot->magazine[size_class][2] = UINT32_MAX;
    slot->magazine_count[size_class] = 3;
    block = troupe_alloc(48);
    CHECK(block != NULL);
    CHECK(block != mine);
    CHECK(block != other);
    CHECK_EQ(troupe_usable_size(block), 48u);
    slot->magazine_count[size_class] = 0x7fffffff;
    CHECK_RC(troupe_free(block), 0);
    CHECK_RC(troupe_free(mine), 0);
    troupe__family.heap->classes[size_class].partial = UINT32_MAX;
    for (size_t i = 0; i < 1000; i++)
        CHECK(troupe_alloc(48) != NULL);
    troupe__family.heap->classes[size_class].partial = 1;
    for (size_t i = 0; i < 1000; i++)
        CHECK(troupe_alloc(48) != NULL);
}

/* The same for what links the runs and the slabs. */
TEST(alloc_survives_damaged_links)
{
    static const uint32_t wild[] = {1,          2,          77,
                                    0x00ffffff, 0x7fffffff, UINT32_MAX};
    struct troupe__heap *heap;
    void *runs[64];
    void *small[2000];

    (void)unit_slot();
    heap = troupe__family.heap;
    for (size_t w = 0; w < sizeof(wild) / sizeof(wild[0]); w++) {
        for (size_t i = 0; i < 64; i++) {
            runs[i] = troupe_alloc((i % 5 + 3) * 4096);
            CHECK(runs[i] != NULL);
        }
        for (size_t i = 0; i < 2000; i++) {
            small[i] = troupe_alloc(64);
            CHECK(small[i] != NULL);
        }
        for (size_t i = 0; i < 64; i += 2)
            CHECK_RC(troupe_free(runs[i]), 0);
        for (size_t i = 0; i < 2000; i += 3)
            CHECK_RC(troupe_free(small[i]), 0);
        for (size_t bin = 0; bin < TROUPE__BINS; bin++)
            heap->pages.bins[bin] = wild[w];
        heap->pages.bins_used = UINT64_MAX;
        for (uint32_t page = 0; page < heap->pages.pages_end; page++) {
            struct troupe__page *p = troupe__page_at(page);

            if (troupe__page_state(p->head) != TROUPE__PAGE_FREE &&
                troupe__page_state(p->head) != TROUPE__PAGE_SLAB)
                continue;
            p->u.link.next = wild[w];
            p->u.link.previous = wild[w];
        }
        for (size_t i = 0; i < 64; i += 2) {
            runs[i] = troupe_alloc((i % 5 + 3) * 4096);
            CHECK(runs[i] != NULL);
            fill(runs[i], (i % 5 + 3) * 4096, (unsigned)i);
        }
        for (size_t i = 0; i < 2000; i += 3) {
            small[i] = troupe_alloc(64);
            CHECK(small[i] != NULL);
        }
        for (size_t i = 0; i < 64; i += 2)
            CHECK(is_filled(runs[i], (i % 5 + 3) * 4096, (unsigned)i));
        for (size_t i = 0; i < 64; i++)
            CHECK_RC(troupe_free(runs[i]), 0);
        for (size_t i = 0; i < 2000; i++)
            CHECK_RC(troupe_free(small[i]), 0);
    }
}

/* How many blocks of a slab are free, and how long it is. */
TEST(alloc_survives_a_damaged_slab)
{
    enum { SIZE = 8192, SLAB = 7, COUNT = 2 * SLAB };

    unsigned char *blocks[COUNT];
    uint32_t page;
    uint64_t head;

    (void)unit_slot();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = troupe_alloc(SIZE);
        CHECK(blocks[i] != NULL);
        fill(blocks[i], SIZE, (unsigned)i);
    }
    /* both have free blocks; of the first all seem to be */
    CHECK_RC(troupe_free(blocks[0]), 0);
    CHECK_RC(troupe_free(blocks[COUNT - 1]), 0);
    (void)used();
    page = troupe__page_of(troupe__family_offset(blocks[2]));
    head = troupe__page_at(page)->head;
    CHECK_EQ(troupe__page_state(head), TROUPE__PAGE_PART);
    page = troupe__page_length(head);
    CHECK_EQ(troupe__page_at(page + 1)->u.link.next, 1u);
    troupe__page_at(page + 1)->u.link.next = SLAB - 1;
    CHECK_RC(troupe_free(blocks[1]), 0);
    (void)used();
    CHECK_EQ(troupe__page_at(page + 1)->u.link.next, 2u);
    /* a slab that is not as long as it should be is none */
    head = troupe__page_at(page)->head;
    troupe__page_at(page)->head =
        troupe__page_head(TROUPE__PAGE_SLAB, 1, troupe__page_class(head));
    troupe__family.heap->classes[troupe__class_of(SIZE)].partial = UINT32_MAX;
    blocks[0] = troupe_alloc(SIZE);
    CHECK(blocks[0] != NULL);
    CHECK_EQ(troupe__page_at(page + 1)->u.link.next, 2u);
    troupe__page_at(page)->head = head;
    for (size_t i = 2; i < COUNT - 1; i++) {
        CHECK(is_filled(blocks[i], SIZE, (unsigned)i));
        CHECK_RC(troupe_free(blocks[i]), 0);
    }
}

static HARNESS_UNWOUND void *
allocate_cancelled(void *argument)
{
    uint32_t *flag = argument;
    int state;

    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state), 0);
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
    /* Not a cancellation point, as malloc() is none: neither making the heap
     * nor growing it. */
    for (size_t i = 0; i < 2000; i++)
        CHECK(troupe_alloc(i * 3) != NULL);
    CHECK(troupe_alloc(16 * MIB) != NULL);
    unit_raise(flag);
    pthread_testcancel();
    return NULL;
}

TEST(alloc_in_a_thread_that_is_cancelled)
{
    uint32_t flag = 0;
    pthread_t thread;
    void *value = NULL;

    CHECK_EQ(pthread_create(&thread, NULL, allocate_cancelled, &flag), 0);
    CHECK_EQ(pthread_join(thread, &value), 0);
    CHECK(value == PTHREAD_CANCELED);
    CHECK_EQ(flag, 1u);
    for (size_t i = 0; i < 2000; i++)
        CHECK(troupe_alloc(i * 3) != NULL);
    CHECK_EQ(unit_info().threads, 1u);
}

/* Memory that the heap has from the system. */
static uint64_t
committed(void)
{
    troupe_heap_info info = unit_info();

    CHECK_LE(info.free_bytes, info.committed);
    return info.committed;
}

TEST_TIMEOUT(alloc_memory_that_is_free_goes_back, 60)
{
    unsigned char *block;
    uint64_t before;

    (void)unit_slot();
    before = committed();
    for (int i = 0; i < 3; i++) {
        block = troupe_alloc(320 * MIB);
        CHECK(block != NULL);
        CHECK_GE(committed(), before + 320 * MIB);
        for (size_t at = 0; at < 320 * MIB; at += MIB)
            block[at] = (unsigned char)(at / MIB + 1);
        for (size_t at = 0; at < 320 * MIB; at += MIB)
            CHECK_EQ(block[at], (unsigned char)(at / MIB + 1));
        CHECK_RC(troupe_free(block), 0);
        CHECK_LE(committed(), before + 128 * MIB);
    }
    /* parts of what has gone back, beside each other and beside what has not */
    for (size_t i = 0; i < 600; i++) {
        unsigned char *part = troupe_alloc(300000);

        CHECK(part != NULL);
        fill(part, 300000, (unsigned)i);
    }
    CHECK_GE(committed(), 600 * (uint64_t)300000);
}

TEST_TIMEOUT(alloc_memory_of_small_blocks_goes_back, 60)
{
    static void *blocks[1 << 19];
    const size_t count = sizeof(blocks) / sizeof(blocks[0]);
    uint64_t before;

    (void)unit_slot();
    troupe__family.heap->pages.keep_pages = 1024;
    before = committed();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = troupe_alloc(160);
        CHECK(blocks[i] != NULL);
    }
    CHECK_GE(committed(), before + count * 160);
    /* in no order of their addresses: 7919 and the count have no divisor */
    for (size_t i = 0; i < count; i++)
        CHECK_RC(troupe_free(blocks[i * 7919 % count]), 0);
    CHECK_LE(committed(), before + 24 * MIB);
}

/* A heap that is in use keeps as much again. */
TEST(alloc_memory_is_kept_while_as_much_is_in_use)
{
    void *used_block = troupe_alloc(40 * MIB);
    void *block;
    uint64_t with_both;

    CHECK(used_block != NULL);
    troupe__family.heap->pages.keep_pages = 0;
    for (int i = 0; i < 8; i++) {
        block = troupe_alloc(30 * MIB);
        CHECK(block != NULL);
        if (i == 0)
            with_both = committed();
        CHECK_RC(troupe_free(block), 0);
        CHECK_EQ(committed(), with_both);
    }
    CHECK_RC(troupe_free(used_block), 0);
    CHECK_LE(committed(), 2 * MIB);
}

/* Also of what was cut from memory that had gone back before; and free runs
 * that stay apart for that are one again when that much is asked for. */
TEST_TIMEOUT(alloc_memory_beside_what_went_back_goes_back_too, 60)
{
    void *parts[100];
    uint64_t before;
    uint32_t end;

    (void)unit_slot();
    troupe__family.heap->pages.keep_pages = 1024;
    for (size_t i = 0; i < 100; i++) {
        parts[i] = troupe_alloc(2 * MIB);
        CHECK(parts[i] != NULL);
        CHECK(troupe_alloc(16384) != NULL);
    }
    for (size_t i = 0; i < 100; i++)
        CHECK_RC(troupe_free(parts[i]), 0);
    before = committed();
    CHECK_LE(before, 24 * MIB);
    end = troupe__family.heap->pages.pages_end;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 100; i++) {
            parts[i] = troupe_alloc(MIB + 65536);
            CHECK(parts[i] != NULL);
            fill(parts[i], MIB + 65536, (unsigned)i);
        }
        for (size_t i = 0; i < 100; i++) {
            CHECK(is_filled(parts[i], MIB + 65536, (unsigned)i));
            CHECK_RC(troupe_free(parts[i]), 0);
        }
        CHECK_LE(committed(), before + 24 * MIB);
        for (size_t i = 0; i < 100; i++) {
            parts[i] = troupe_alloc(2 * MIB);
            CHECK(parts[i] != NULL);
            fill(parts[i], 2 * MIB, (unsigned)i);
        }
        for (size_t i = 0; i < 100; i++) {
            CHECK(is_filled(parts[i], 2 * MIB, (unsigned)i));
            CHECK_RC(troupe_free(parts[i]), 0);
        }
        CHECK_EQ(troupe__family.heap->pages.pages_end, end);
    }
}
