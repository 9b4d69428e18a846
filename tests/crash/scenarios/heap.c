/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator: nothing twice, nothing lost but what the dead had in hand. */
#include "common.h"

#include <errno.h>

enum { LARGE = 20000, MOST = 16 };

static void *block;
static void *many[MOST];

/* What the victim was handed, what it was told; the same of a second one; how
 * many blocks it was handed. */
enum { WORD_BLOCK, WORD_STATUS, WORD_SECOND, WORD_SECOND_STATUS, WORD_COUNT };

static const unsigned words[] = {WORD_BLOCK, WORD_SECOND};

static void
keep_in(unsigned word, void *result)
{
    int error = errno;

    atomic_store(crash_word(word), (int64_t)(uintptr_t)result);
    if (result == NULL)
        atomic_store(crash_word(word + 1), -error);
}

static void
keep(void *result)
{
    keep_in(WORD_BLOCK, result);
}

static void
require_status(unsigned word, int status)
{
    int64_t got = atomic_load(crash_word(word));

    if (crash_completed() && got != status)
        crash_fail(CRASH_CORRUPTION, "the victim got %d where %d was due",
                   (int)got, status);
}

/* What the victim got is its own: the survivors' blocks are others. */
static void
survive(void)
{
    use_heap();
}

static void
check_one(void)
{
    handed_check(words, 1, COUNTED_SIZE);
}

static void
check_told(void)
{
    require_status(WORD_STATUS, 0);
    counted_check(0);
}

/* ---- alloc ---- */

static void
prepare_cached(void)
{
    CRASH_REQUIRE(troupe_free(troupe_alloc(COUNTED_SIZE)) == 0,
                  CRASH_CORRUPTION, "free");
}

static void
victim_alloc(void)
{
    keep(troupe_alloc(COUNTED_SIZE));
}

static void
victim_alloc_large(void)
{
    keep(troupe_alloc(LARGE));
}

SCENARIO(alloc_cached) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "small, a block is cached",
    .setup = counted_heap,
    .prepare = prepare_cached,
    .victim = victim_alloc,
    .survivors = {survive, survive},
    .check = check_one,
};

SCENARIO(alloc_refill) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "small, nothing is cached",
    .setup = counted_heap,
    .prepare = join_family,
    .victim = victim_alloc,
    .survivors = {survive, survive},
    .check = check_one,
};

/* A class whose slab is full: the next block needs a new one. Its slabs have as
 * many pages as those of the counted class, so that it does not matter which of
 * the two stays. */
enum { CLASS_SIZE = 896, CLASS_SLAB = 36 };

static unsigned char *slab[CLASS_SLAB];

/* The block lies where the full slab has its own. */
static bool
in_full_slab(const void *at)
{
    size_t distance = (size_t)((const unsigned char *)at - slab[0]);

    return distance < (size_t)CLASS_SLAB * CLASS_SIZE;
}

static void
setup_full_slab(void)
{
    unsigned i;

    counted_heap();
    for (i = 0; i < CLASS_SLAB; i++) {
        slab[i] = patterned(CLASS_SIZE, (unsigned char)(i + 1));
        CRASH_REQUIRE(slab[i] != NULL, CRASH_CORRUPTION, "alloc");
        if (slab[i] < slab[0]) {
            unsigned char *lowest = slab[i];

            slab[i] = slab[0];
            slab[0] = lowest;
        }
    }
    for (i = 0; i < CLASS_SLAB; i++)
        CRASH_REQUIRE(in_full_slab(slab[i]), CRASH_CORRUPTION,
                      "a slab has fewer than %d blocks", CLASS_SLAB);
}

static void
victim_alloc_class(void)
{
    keep(troupe_alloc(CLASS_SIZE));
}

/* Empties both slabs, of which one goes back; its own cache goes back with
 * it. */
static void
survivor_empties(void)
{
    bool given;
    unsigned i;

    for (i = 0; i < CLASS_SLAB; i++) {
        CRASH_REQUIRE(has_pattern(slab[i], CLASS_SIZE, slab[i][0]),
                      CRASH_DUPLICATE, "a live block was overwritten");
        CRASH_REQUIRE(troupe_free(slab[i]) == 0, CRASH_CORRUPTION,
                      "a block cannot be freed");
    }
    given = free_victims_block(CLASS_SIZE);
    if (crash_completed() && !given)
        crash_fail(CRASH_LOSS, "what the victim was given is not its own");
}

static void
check_class(void)
{
    void *mine = (void *)(uintptr_t)atomic_load(crash_word(WORD_BLOCK));

    if (crash_completed() && (mine == NULL || in_full_slab(mine)))
        crash_fail(CRASH_CORRUPTION, "no block, or none of a new slab");
    counted_check(0);
}

SCENARIO(alloc_new_slab) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "small, every slab of its class is full",
    .setup = setup_full_slab,
    .prepare = join_family,
    .victim = victim_alloc_class,
    .survivors = {survivor_empties, survive},
    .check = check_class,
};

SCENARIO(alloc_cold) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "small, the first call of its process",
    .setup = counted_heap,
    .victim = victim_alloc,
    .survivors = {survive, survive},
    .check = check_one,
};

static void
check_large(void)
{
    handed_check(words, 1, LARGE);
}

SCENARIO(alloc_large) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "large",
    .setup = counted_heap,
    .prepare = join_family,
    .victim = victim_alloc_large,
    .survivors = {survive, survive},
    .check = check_large,
};

static void *all;

static void
setup_exhausted(void)
{
    counted_heap();
    all = exhaust_heap();
}

/* Nothing was there to be had, and nothing has come of it. */
static void
refused(void)
{
    if (atomic_load(crash_word(WORD_BLOCK)) != 0)
        crash_fail(CRASH_DUPLICATE, "a block where there was none");
    require_status(WORD_STATUS, -ENOMEM);
    settle_heap();
    if (troupe_alloc(COUNTED_SIZE) != NULL)
        crash_fail(CRASH_DUPLICATE, "another block where there was none");
    relieve_heap(all);
}

static void
check_exhausted(void)
{
    refused();
    counted_check(0);
}

SCENARIO(alloc_exhausted) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "large, no memory is left",
    .setup = setup_exhausted,
    .prepare = NULL,
    .victim = victim_alloc_large,
    .survivors = {survive, NULL},
    .check = check_exhausted,
};

/* More than a step of growth: what is added is hollow, and filled behind. */
enum { HUGE = 3 << 20, HUGE_LIMIT = 5 << 20 };

static void
setup_young(void)
{
    heap_limit(HUGE_LIMIT);
    growing_heap();
}

static void
victim_alloc_huge(void)
{
    keep(troupe_alloc(HUGE));
}

static void
check_young(void)
{
    handed_check(words, 1, HUGE);
}

SCENARIO(alloc_grow) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "large, the heap grows",
    .setup = setup_young,
    .prepare = join_family,
    .victim = victim_alloc_huge,
    .survivors = {survive, settle_heap},
    .check = check_young,
};

/* More than the smallest step of growth: the arena must reach further. */
enum { GROWING = 100000 };

static void
victim_alloc_growing(void)
{
    keep(troupe_alloc(GROWING));
}

static void
check_growing(void)
{
    handed_check(words, 1, GROWING);
}

SCENARIO(alloc_grow_counted) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "large, the heap grows, every page is counted",
    .setup = growing_heap,
    .prepare = join_family,
    .victim = victim_alloc_growing,
    .survivors = {settle_heap, NULL},
    .check = check_growing,
};

static void
second_alloc_growing(void)
{
    keep_in(WORD_SECOND, troupe_alloc(GROWING));
}

static void
check_two_growing(void)
{
    handed_check(words, 2, GROWING);
}

SCENARIO(alloc_grow_two) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "large, the heap grows, a second victim's as well",
    .setup = growing_heap,
    .prepare = join_family,
    .victim = victim_alloc_growing,
    .second_prepare = join_family,
    .second = second_alloc_growing,
    .survivors = {settle_heap, NULL},
    .check = check_two_growing,
};

/* One step of growth after the other, and the last one refused. */
enum { SHARE = 1 << 16 };

static void
victim_alloc_all(void)
{
    while (troupe_alloc(SHARE) != NULL)
        atomic_fetch_add(crash_word(WORD_COUNT), 1);
}

static unsigned taken;

static bool
take_back(void *address, size_t size)
{
    if (troupe_usable_size(address) >= size && troupe_free(address) == 0)
        taken++;
    return false;
}

/* What it was handed, and one that it could not count any more. */
static void
check_all(void)
{
    unsigned counted = (unsigned)atomic_load(crash_word(WORD_COUNT));

    settle_heap();
    (void)heap_steps(take_back, SHARE);
    if (taken < counted)
        crash_fail(CRASH_LOSS, "of %u blocks of the victim %u are left",
                   counted, taken);
    if (taken > counted + (crash_completed() ? 0 : 1))
        crash_fail(CRASH_DUPLICATE, "the victim was handed %u blocks, not %u",
                   counted, taken);
    if (crash_completed() && counted < 8)
        crash_fail(CRASH_CORRUPTION, "refused after %u blocks", counted);
    counted_check(0);
}

SCENARIO(alloc_grow_steps) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "until no memory is left, the heap grows",
    .setup = growing_heap,
    .prepare = join_family,
    .victim = victim_alloc_all,
    .survivors = {survive, settle_heap},
    .check = check_all,
};

static void
second_alloc(void)
{
    keep_in(WORD_SECOND, troupe_alloc(COUNTED_SIZE));
}

static void
check_two(void)
{
    handed_check(words, 2, COUNTED_SIZE);
}

SCENARIO(alloc_two) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "small, nothing cached, a second victim allocates",
    .setup = counted_heap,
    .prepare = join_family,
    .victim = victim_alloc,
    .second_prepare = join_family,
    .second = second_alloc,
    .survivors = {survive, survive},
    .check = check_two,
};

/* Died with cached blocks, and in the middle of nothing. */
static void
peer_dies_with_cache(void)
{
    unsigned i;

    for (i = 0; i < 6; i++)
        many[i] = troupe_alloc(COUNTED_SIZE);
    for (i = 0; i < 6; i++)
        (void)troupe_free(many[i]);
    (void)troupe_free(troupe_alloc(LARGE));
    crash_ready();
}

SCENARIO(alloc_recovers) = {
    .function = {FUNCTION(troupe_alloc)},
    .state = "the first call, recovers a dead peer",
    .setup = counted_heap,
    .peers = {peer_dies_with_cache},
    .victim = victim_alloc,
    .survivors = {survive, survive},
    .check = check_one,
};

static void
victim_info(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    atomic_store(crash_word(WORD_STATUS), troupe_heap_info_get(&info));
}

static void
second_info(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    atomic_store(crash_word(WORD_SECOND_STATUS), troupe_heap_info_get(&info));
}

static void
check_told_two(void)
{
    if (crash_second_completed() &&
        atomic_load(crash_word(WORD_SECOND_STATUS)) != 0)
        crash_fail(CRASH_CORRUPTION, "the second one got no figures");
    check_told();
}

/* Left little: a second victim at each point of the recovery multiplies. */
static void
peer_dies_with_one(void)
{
    prepare_cached();
    crash_ready();
}

SCENARIO(alloc_recovers_two) = {
    .function = {FUNCTION(troupe_heap_info_get)},
    .state = "recovers a dead peer, so does a second victim",
    .setup = counted_heap,
    .peers = {peer_dies_with_one},
    .late = 1,
    .prepare = join_family,
    .victim = victim_info,
    .second = second_info,
    .survivors = {survive, survive},
    .check = check_told_two,
};

/* ---- calloc, strdup, realloc ---- */

static void
victim_calloc(void)
{
    keep(troupe_calloc(10, COUNTED_SIZE / 10));
}

static void
check_calloc(void)
{
    if (crash_completed() &&
        !has_pattern((void *)(uintptr_t)atomic_load(crash_word(WORD_BLOCK)),
                     COUNTED_SIZE, 0))
        crash_fail(CRASH_CORRUPTION, "it is not cleared");
    check_one();
}

SCENARIO(calloc_cached) = {
    .function = {FUNCTION(troupe_calloc)},
    .state = "small, a block is cached",
    .setup = counted_heap,
    .prepare = prepare_cached,
    .victim = victim_calloc,
    .survivors = {survive, survive},
    .check = check_calloc,
};

SCENARIO(calloc_exhausted) = {
    .function = {FUNCTION(troupe_calloc)},
    .state = "small, no memory is left",
    .setup = setup_exhausted,
    .prepare = join_family,
    .victim = victim_calloc,
    .survivors = {survive, NULL},
    .check = check_exhausted,
};

static char text[COUNTED_SIZE];

static void
victim_strdup(void)
{
    keep(troupe_strdup(text));
}

static void
setup_text(void)
{
    memset(text, 'x', sizeof(text) - 1);
    counted_heap();
}

static void
check_strdup(void)
{
    const char *copy = (void *)(uintptr_t)atomic_load(crash_word(WORD_BLOCK));

    if (crash_completed() && (copy == NULL || strcmp(copy, text) != 0))
        crash_fail(CRASH_CORRUPTION, "the copy is another text");
    check_one();
}

SCENARIO(strdup_cached) = {
    .function = {FUNCTION(troupe_strdup)},
    .state = "small, a block is cached",
    .setup = setup_text,
    .prepare = prepare_cached,
    .victim = victim_strdup,
    .survivors = {survive, survive},
    .check = check_strdup,
};

/* The block that is moved belongs to the root and is full of a pattern. */
static void
setup_block(void)
{
    counted_heap();
    block = patterned(COUNTED_SIZE, 0x33);
}

static void
victim_realloc(void)
{
    keep(troupe_realloc(block, 3 * COUNTED_SIZE));
}

/* Of a block that moves: where it was, its pattern, and both sizes. */
struct move {
    void *from;
    unsigned char pattern;
    size_t old_size;
    size_t new_size;
};

static void
free_moved(const struct move *move, void *to)
{
    size_t size =
        move->old_size < move->new_size ? move->old_size : move->new_size;

    if (troupe_usable_size(to) < move->new_size)
        crash_give_up(CRASH_LOSS, "what the victim was given was taken back");
    if (!has_pattern(to, size, move->pattern))
        crash_fail(CRASH_CORRUPTION, "the content did not come along");
    CRASH_REQUIRE(troupe_free(to) == 0, CRASH_CORRUPTION,
                  "what the victim got cannot be freed");
}

/* Killed in between it leaves the old block, or the new one, which it may not
 * have named yet, or none: the new one is its own until it is handed out.
 * Returns false when it is one of the last two. */
static bool
moved_or_not(const struct move *move, unsigned word, bool completed)
{
    void *to = (void *)(uintptr_t)atomic_load(crash_word(word));

    if (to != NULL) {
        free_moved(move, to);
        return true;
    }
    if (completed)
        crash_fail(CRASH_CORRUPTION, "realloc failed");
    if (troupe_usable_size(move->from) == 0)
        return false;
    /* Still the old one: nobody has taken memory since. */
    if (!has_pattern(move->from, move->old_size, move->pattern))
        crash_fail(CRASH_CORRUPTION, "the old block was changed");
    CRASH_REQUIRE(troupe_free(move->from) == 0, CRASH_CORRUPTION,
                  "the old block cannot be freed");
    return true;
}

static void
moved_from_to(size_t old_size, size_t new_size)
{
    struct move move = {block, 0x33, old_size, new_size};
    void *to;

    settle_heap();
    if (!moved_or_not(&move, WORD_BLOCK, crash_completed()) &&
        (to = victims_block(new_size)) != NULL)
        free_moved(&move, to);
    counted_check(0);
}

static void
check_realloc(void)
{
    moved_from_to(COUNTED_SIZE, 3 * COUNTED_SIZE);
}

SCENARIO(realloc_moves) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "small to larger",
    .setup = setup_block,
    .prepare = prepare_cached,
    .victim = victim_realloc,
    .survivors = {NULL, NULL},
    .check = check_realloc,
};

static void
setup_large(void)
{
    counted_heap();
    block = patterned(LARGE, 0x33);
}

/* To a small one: each part of the copy is a kill point. */
static void
victim_realloc_small(void)
{
    keep(troupe_realloc(block, COUNTED_SIZE));
}

static void
check_realloc_small(void)
{
    moved_from_to(LARGE, COUNTED_SIZE);
}

SCENARIO(realloc_large) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "large to small",
    .setup = setup_large,
    .prepare = prepare_cached,
    .victim = victim_realloc_small,
    .survivors = {NULL, NULL},
    .check = check_realloc_small,
};

static void
victim_realloc_larger(void)
{
    keep(troupe_realloc(block, 2 * LARGE));
}

static void
check_realloc_larger(void)
{
    moved_from_to(LARGE, 2 * LARGE);
}

SCENARIO(realloc_larger) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "large to larger",
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_realloc_larger,
    .survivors = {NULL, NULL},
    .check = check_realloc_larger,
};

/* The block that cannot move stays as it was. */
static void
setup_block_exhausted(void)
{
    setup_block();
    all = exhaust_heap();
}

static void
setup_large_exhausted(void)
{
    setup_large();
    all = exhaust_heap();
}

static void
stayed(size_t size)
{
    refused();
    CRASH_REQUIRE(troupe_usable_size(block) >= size &&
                      has_pattern(block, size, 0x33),
                  CRASH_CORRUPTION, "the block was changed");
    CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                  "the block cannot be freed");
    counted_check(0);
}

static void
check_block_stayed(void)
{
    stayed(COUNTED_SIZE);
}

static void
check_large_stayed(void)
{
    stayed(LARGE);
}

SCENARIO(realloc_exhausted) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "no memory is left, small to larger",
    .setup = setup_block_exhausted,
    .prepare = join_family,
    .victim = victim_realloc,
    .survivors = {survive, NULL},
    .check = check_block_stayed,
};

SCENARIO(realloc_large_exhausted) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "no memory is left, large to larger",
    .setup = setup_large_exhausted,
    .prepare = join_family,
    .victim = victim_realloc_larger,
    .survivors = {survive, NULL},
    .check = check_large_stayed,
};

/* Each moves a block of its own, of the same class. */
static void *second_block;

static void
setup_two_blocks(void)
{
    setup_block();
    second_block = patterned(COUNTED_SIZE, 0x44);
}

static void
second_realloc(void)
{
    keep_in(WORD_SECOND, troupe_realloc(second_block, 3 * COUNTED_SIZE));
}

static void
check_realloc_two(void)
{
    struct move moves[] = {
        {block, 0x33, COUNTED_SIZE, 3 * COUNTED_SIZE},
        {second_block, 0x44, COUNTED_SIZE, 3 * COUNTED_SIZE}};
    bool seen[2];
    unsigned char *to;

    settle_heap();
    seen[0] = moved_or_not(&moves[0], WORD_BLOCK, crash_completed());
    seen[1] = moved_or_not(&moves[1], WORD_SECOND, crash_second_completed());
    /* Handed out to one that could not name it any more. */
    while ((!seen[0] || !seen[1]) &&
           (to = victims_block(3 * COUNTED_SIZE)) != NULL) {
        unsigned which = *to == moves[0].pattern ? 0 : 1;

        if (seen[which])
            crash_give_up(CRASH_DUPLICATE, "a block has moved to two places");
        free_moved(&moves[which], to);
        seen[which] = true;
    }
    counted_check(0);
}

SCENARIO(realloc_two) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "small to larger, a second victim moves one too",
    .setup = setup_two_blocks,
    .prepare = join_family,
    .victim = victim_realloc,
    .second_prepare = join_family,
    .second = second_realloc,
    .check = check_realloc_two,
};

static void
victim_realloc_same(void)
{
    keep(troupe_realloc(block, COUNTED_SIZE - 8));
}

static void
check_realloc_same(void)
{
    if (crash_completed() &&
        atomic_load(crash_word(WORD_BLOCK)) != (int64_t)(uintptr_t)block)
        crash_fail(CRASH_CORRUPTION, "it did not stay in its place");
    CRASH_REQUIRE(has_pattern(block, COUNTED_SIZE - 8, 0x33), CRASH_CORRUPTION,
                  "the block was changed");
    CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                  "the block cannot be freed");
    counted_check(0);
}

SCENARIO(realloc_in_place) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "in place",
    .setup = setup_block,
    .prepare = prepare_cached,
    .victim = victim_realloc_same,
    .survivors = {survive, survive},
    .check = check_realloc_same,
};

/* ---- free ---- */

/* What a free was answered, which is not 0, as the word is of one that was not
 * answered yet. */
enum { FREED = 1, REFUSED, FAILED };

static int
free_block(void)
{
    int status = troupe_free(block);

    return status == 0 ? FREED : status == -EINVAL ? REFUSED : FAILED;
}

static void
victim_free(void)
{
    atomic_store(crash_word(WORD_STATUS), free_block());
}

/* Freed, or still there and freed now. */
static void
check_free(void)
{
    require_status(WORD_STATUS, FREED);
    if (troupe_usable_size(block) != 0) {
        if (crash_completed())
            crash_fail(CRASH_CORRUPTION, "it is not free");
        if (!has_pattern(block, COUNTED_SIZE, 0x33))
            crash_fail(CRASH_CORRUPTION, "what was not freed was changed");
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "the block cannot be freed");
    }
    counted_check(0);
}

SCENARIO(free_room) = {
    .function = {FUNCTION(troupe_free)},
    .state = "small, the cache has room",
    .setup = setup_block,
    .prepare = join_family,
    .victim = victim_free,
    .survivors = {settle_heap, NULL},
    .check = check_free,
};

/* The victim's cache of the class is full: it is drained first. */
static void
prepare_full_cache(void)
{
    unsigned i;

    for (i = 0; i < 12; i++)
        many[i] = troupe_alloc(COUNTED_SIZE);
    /* The cache of this class holds 8. */
    for (i = 0; i < 8; i++)
        (void)troupe_free(many[i]);
    for (; i < 12; i++)
        atomic_store(crash_word(8 + i), (int64_t)(uintptr_t)many[i]);
}

/* What the victim had beside, and had not freed, lives on. */
static void
check_full_cache(void)
{
    unsigned i;

    for (i = 8; i < 12; i++) {
        void *other = (void *)(uintptr_t)atomic_load(crash_word(8 + i));

        CRASH_REQUIRE(troupe_free(other) == 0, CRASH_CORRUPTION,
                      "a block of the victim cannot be freed");
    }
    check_free();
}

SCENARIO(free_drains) = {
    .function = {FUNCTION(troupe_free)},
    .state = "small, the cache is full",
    .setup = setup_block,
    .prepare = prepare_full_cache,
    .victim = victim_free,
    .survivors = {settle_heap, NULL},
    .check = check_full_cache,
};

SCENARIO(free_cold) = {
    .function = {FUNCTION(troupe_free)},
    .state = "small, the first call of its process",
    .setup = setup_block,
    .victim = victim_free,
    .survivors = {settle_heap, NULL},
    .check = check_free,
};

SCENARIO(free_large) = {
    .function = {FUNCTION(troupe_free)},
    .state = "large",
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_free,
    .survivors = {settle_heap, NULL},
    .check = check_free,
};

/* Free neighbours on both sides, which it is merged with. */
static void
setup_large_between(void)
{
    void *left, *right;

    counted_heap();
    left = patterned(LARGE, 1);
    block = patterned(LARGE, 0x33);
    right = patterned(LARGE, 2);
    (void)troupe_free(left);
    (void)troupe_free(right);
}

SCENARIO(free_merges) = {
    .function = {FUNCTION(troupe_free)},
    .state = "large, between two free ones",
    .setup = setup_large_between,
    .prepare = join_family,
    .victim = victim_free,
    .survivors = {settle_heap, NULL},
    .check = check_free,
};

static void
second_free(void)
{
    atomic_store(crash_word(WORD_SECOND_STATUS), free_block());
}

static void
check_free_two(void)
{
    int64_t first = atomic_load(crash_word(WORD_STATUS));
    int64_t second = atomic_load(crash_word(WORD_SECOND_STATUS));

    if (first == FAILED || second == FAILED)
        crash_fail(CRASH_CORRUPTION, "free failed");
    if (first == FREED && second == FREED)
        crash_fail(CRASH_DUPLICATE, "two were told that they freed it");
    if (first == REFUSED && second == REFUSED)
        crash_fail(CRASH_CORRUPTION, "both were told that it is none");
    settle_heap();
    /* Whatever one of them was told, it is not there any more. */
    if (troupe_usable_size(block) != 0) {
        if (first != 0 || second != 0)
            crash_fail(CRASH_CORRUPTION, "it is not free");
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "the block cannot be freed");
    }
    counted_check(0);
}

/* Both free the same block: one of them is told that it is none. */
SCENARIO(free_twice) = {
    .function = {FUNCTION(troupe_free)},
    .state = "small, a second victim frees it too",
    .setup = setup_block,
    .prepare = join_family,
    .victim = victim_free,
    .second_prepare = join_family,
    .second = second_free,
    .survivors = {settle_heap, NULL},
    .check = check_free_two,
};

SCENARIO(free_large_twice) = {
    .function = {FUNCTION(troupe_free)},
    .state = "large, a second victim frees it too",
    .setup = setup_large,
    .prepare = join_family,
    .victim = victim_free,
    .second_prepare = join_family,
    .second = second_free,
    .survivors = {settle_heap, NULL},
    .check = check_free_two,
};

/* ---- figures ---- */

SCENARIO(info_recovers) = {
    .function = {FUNCTION(troupe_heap_info_get)},
    .state = "recovers a dead peer",
    .setup = counted_heap,
    .peers = {peer_dies_with_cache},
    .prepare = NULL,
    .victim = victim_info,
    .survivors = {survive, survive},
    .check = check_told,
};

/* ---- functions without kill points ---- */

static void
setup_joined(void)
{
    counted_heap();
    block = patterned(COUNTED_SIZE, 1);
}

static void
call_setup_again(void)
{
    (void)troupe_heap_setup(NULL);
}

EXEMPT(setup_nothing) = {
    "troupe_heap_setup",
    (void (*)(void))troupe_heap_setup,
    setup_joined,
    call_setup_again,
    "nobody else has the heap before it returns; a second call changes nothing",
};

static void
call_contains(void)
{
    (void)troupe_heap_contains(block, 16);
}

EXEMPT(contains_reads) = {
    "troupe_heap_contains", (void (*)(void))troupe_heap_contains,
    setup_joined,           call_contains,
    "compares addresses",
};

static void
call_usable_size(void)
{
    (void)troupe_usable_size(block);
}

EXEMPT(usable_size_reads) = {
    "troupe_usable_size", (void (*)(void))troupe_usable_size,
    setup_joined,         call_usable_size,
    "loads words",
};
