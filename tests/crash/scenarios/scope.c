/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes: what is in one dies with its owner, what was given away does not. */
#include "common.h"

#include <troupe/scope.h>

#include <errno.h>

enum { FIRST_LIST = 40, MANY = 45 }; /* what a scope's first list holds */

enum { GIVEN = 2, GIVEN_SIZE = 65536 };

static troupe_scope *scope;
static void *block;
static void *blocks[MANY];

/* What a victim's call was answered, 1 more than the status: 0 is none yet. */
enum {
    WORD_BLOCK,
    WORD_ANSWER,
    WORD_SECOND_BLOCK,
    WORD_SECOND_ANSWER,
    WORD_TAKEN,
    WORD_GIVEN
};

static void
answer(unsigned word, int status)
{
    atomic_store(crash_word(word), status + 1);
}

/* Who returned was told that it is done. */
static void
check_answers(void)
{
    int64_t first = atomic_load(crash_word(WORD_ANSWER));
    int64_t second = atomic_load(crash_word(WORD_SECOND_ANSWER));

    if ((crash_completed() || first != 0) && first != 1)
        crash_fail(CRASH_CORRUPTION, "the victim got %d", (int)first - 1);
    if ((crash_second_completed() || second != 0) && second != 1)
        crash_fail(CRASH_CORRUPTION, "the second victim got %d",
                   (int)second - 1);
}

/* Blocks of the scopes are told from anything else by what is in them. */
enum { PATTERN = 0x33 };

static void *
alloc_in(troupe_scope *in)
{
    void *bytes = troupe_scope_alloc(in, COUNTED_SIZE);

    CRASH_REQUIRE(bytes != NULL, CRASH_CORRUPTION, "alloc");
    memset(bytes, PATTERN, COUNTED_SIZE);
    return bytes;
}

static void
survive(void)
{
    use_heap();
}

static void
prepare_scope(void)
{
    CRASH_REQUIRE(troupe_scope_new(&scope) == 0, CRASH_CORRUPTION, "new");
}

static void
prepare_block(void)
{
    prepare_scope();
    block = alloc_in(scope);
    atomic_store(crash_word(WORD_BLOCK), (int64_t)(uintptr_t)block);
}

static void
prepare_many(void)
{
    unsigned i;

    prepare_scope();
    for (i = 0; i < MANY; i++)
        blocks[i] = alloc_in(scope);
}

static void
victim_new(void)
{
    answer(WORD_ANSWER, troupe_scope_new(&scope));
}

/* The root uses a scope of its own in between, so that the memory the dead
 * one's had is used again. */
static void
use_scope(void)
{
    troupe_scope *mine;
    unsigned char *bytes;

    CRASH_REQUIRE(troupe_scope_new(&mine) == 0, CRASH_CORRUPTION, "new");
    bytes = troupe_scope_alloc(mine, COUNTED_SIZE);
    CRASH_REQUIRE(bytes != NULL, CRASH_CORRUPTION, "alloc");
    memset(bytes, 0x77, COUNTED_SIZE);
    use_heap();
    CRASH_REQUIRE(has_pattern(bytes, COUNTED_SIZE, 0x77), CRASH_DUPLICATE,
                  "a block of a live scope was handed out");
    CRASH_REQUIRE(troupe_scope_free(mine) == 0, CRASH_CORRUPTION, "free");
}

/* The object directory gets its first page before the counting. */
static void
setup(void)
{
    troupe_scope *first;

    limited_heap();
    CRASH_REQUIRE(troupe_scope_new(&first) == 0 &&
                      troupe_scope_free(first) == 0,
                  CRASH_CORRUPTION, "a scope in the setup");
    counted_heap();
}

static void
check_new(void)
{
    check_answers();
    use_scope();
    counted_check(0);
}

SCENARIO(scope_new) = {
    .function = {FUNCTION(troupe_scope_new)},
    .state = "warm",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_new,
    .survivors = {use_scope, survive},
    .check = check_new,
};

SCENARIO(scope_new_cold) = {
    .function = {FUNCTION(troupe_scope_new)},
    .state = "the first call of its process",
    .setup = setup,
    .victim = victim_new,
    .survivors = {use_scope, survive},
    .check = check_new,
};

static void
second_new(void)
{
    troupe_scope *mine;

    answer(WORD_SECOND_ANSWER, troupe_scope_new(&mine));
}

SCENARIO(scope_new_two) = {
    .function = {FUNCTION(troupe_scope_new)},
    .state = "a second victim makes one too",
    .setup = setup,
    .prepare = join_family,
    .victim = victim_new,
    .second_prepare = join_family,
    .second = second_new,
    .survivors = {use_scope, NULL},
    .check = check_new,
};

/* ---- no memory left ---- */

static void
check_refused(void)
{
    int64_t got = atomic_load(crash_word(WORD_ANSWER));

    if ((crash_completed() || got != 0) && got != 1 - ENOMEM)
        crash_fail(CRASH_CORRUPTION, "the victim got %d without memory",
                   (int)got - 1);
    settle_heap();
    relieve_heap((void *)(uintptr_t)atomic_load(crash_word(WORD_TAKEN)));
}

static void
exhaust(void)
{
    atomic_store(crash_word(WORD_TAKEN), (int64_t)(uintptr_t)exhaust_heap());
}

static void
setup_exhausted(void)
{
    setup();
    exhaust();
}

static void
check_none_new(void)
{
    check_refused();
    use_scope();
    counted_check(0);
}

SCENARIO(scope_new_exhausted) = {
    .function = {FUNCTION(troupe_scope_new)},
    .state = "no memory is left",
    .setup = setup_exhausted,
    .prepare = join_family,
    .victim = victim_new,
    .survivors = {survive, settle_heap},
    .check = check_none_new,
};

/* There is memory for the scope, but the directory is full. */
enum { DIRECTORY = 511, SCOPE_SIZE = 320 };

static troupe_scope *many[DIRECTORY];
static void *spare;

static void
setup_full_directory(void)
{
    unsigned i;

    setup();
    for (i = 0; i < DIRECTORY; i++)
        CRASH_REQUIRE(troupe_scope_new(&many[i]) == 0, CRASH_CORRUPTION, "new");
    spare = troupe_alloc(SCOPE_SIZE);
    exhaust();
}

/* Into the victim's cache. */
static void
prepare_spare(void)
{
    CRASH_REQUIRE(troupe_free(spare) == 0, CRASH_CORRUPTION, "free");
}

static void
check_full_directory(void)
{
    unsigned i;

    check_refused();
    for (i = 0; i < DIRECTORY; i++)
        CRASH_REQUIRE(troupe_scope_free(many[i]) == 0, CRASH_CORRUPTION,
                      "free");
    use_scope();
    counted_check(0);
}

SCENARIO(scope_new_unlisted) = {
    .function = {FUNCTION(troupe_scope_new)},
    .state = "no memory is left to name it in",
    .lengthy = true,
    .setup = setup_full_directory,
    .prepare = prepare_spare,
    .victim = victim_new,
    .survivors = {survive, settle_heap},
    .check = check_full_directory,
};

static void
victim_alloc(void)
{
    block = troupe_scope_alloc(scope, COUNTED_SIZE);
    answer(WORD_ANSWER, block == NULL ? -errno : 0);
}

SCENARIO(scope_alloc) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "room in the first list",
    .setup = setup,
    .prepare = prepare_scope,
    .victim = victim_alloc,
    .survivors = {use_scope, survive},
    .check = check_new,
};

static void
prepare_full(void)
{
    unsigned i;

    prepare_scope();
    for (i = 0; i < FIRST_LIST; i++)
        blocks[i] = alloc_in(scope);
}

SCENARIO(scope_alloc_more) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "the first list is full",
    .setup = setup,
    .prepare = prepare_full,
    .victim = victim_alloc,
    .survivors = {use_scope, survive},
    .check = check_new,
};

static void
prepare_scope_exhausted(void)
{
    prepare_block();
    exhaust();
}

SCENARIO(scope_alloc_exhausted) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "room in the first list, no memory is left",
    .setup = setup,
    .prepare = prepare_scope_exhausted,
    .victim = victim_alloc,
    .survivors = {survive, settle_heap},
    .check = check_none_new,
};

static void
prepare_full_exhausted(void)
{
    prepare_full();
    exhaust();
}

SCENARIO(scope_alloc_more_exhausted) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "the first list is full, no memory is left",
    .setup = setup,
    .prepare = prepare_full_exhausted,
    .victim = victim_alloc,
    .survivors = {survive, settle_heap},
    .check = check_none_new,
};

/* Memory for one more list, and none for what it is to name. */
enum { LIST_SIZE = 4008 };

static void
prepare_list_only(void)
{
    prepare_full();
    spare = troupe_alloc(LIST_SIZE);
    exhaust();
    prepare_spare();
}

SCENARIO(scope_alloc_list_only) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "the first list is full, memory for another one only",
    .setup = setup,
    .prepare = prepare_list_only,
    .victim = victim_alloc,
    .survivors = {survive, settle_heap},
    .check = check_none_new,
};

/* ---- two die, each with a scope of its own ---- */

static void
second_alloc(void)
{
    answer(WORD_SECOND_ANSWER,
           troupe_scope_alloc(scope, COUNTED_SIZE) == NULL ? -errno : 0);
}

SCENARIO(scope_alloc_two) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "room in the first list, a second victim allocates",
    .setup = setup,
    .prepare = prepare_scope,
    .victim = victim_alloc,
    .second_prepare = prepare_scope,
    .second = second_alloc,
    .survivors = {use_scope, NULL},
    .check = check_new,
};

/* The copy is the scope's as well, so who dies with it looks at it itself. */
static void
victim_realloc(void)
{
    unsigned char expected[COUNTED_SIZE];

    memset(expected, PATTERN, sizeof(expected));
    block = troupe_realloc(block, 3 * COUNTED_SIZE);
    answer(WORD_ANSWER, block == NULL                               ? -errno
                        : memcmp(block, expected, sizeof(expected)) ? -EBADMSG
                                                                    : 0);
}

SCENARIO(scope_realloc) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "a block of a scope",
    .setup = setup,
    .prepare = prepare_block,
    .victim = victim_realloc,
    .survivors = {use_scope, survive},
    .check = check_new,
};

/* What cannot move stays in the scope, as it was. */
static void
victim_realloc_refused(void)
{
    unsigned char expected[COUNTED_SIZE];
    void *copy = troupe_realloc(block, 3 * COUNTED_SIZE);
    int status = copy == NULL ? -errno : 0;

    memset(expected, PATTERN, sizeof(expected));
    if (memcmp(block, expected, sizeof(expected)) != 0)
        status = -EBADMSG;
    answer(WORD_ANSWER, status);
}

SCENARIO(scope_realloc_exhausted) = {
    .function = {FUNCTION(troupe_realloc)},
    .state = "a block of a scope, no memory is left",
    .setup = setup,
    .prepare = prepare_scope_exhausted,
    .victim = victim_realloc_refused,
    .survivors = {survive, settle_heap},
    .check = check_none_new,
};

static void
victim_give(void)
{
    answer(WORD_ANSWER, troupe_scope_give(scope, block));
}

/* It is the family's, or has died with the scope. */
static void
check_given_block(unsigned word, bool completed)
{
    void *given = (void *)(uintptr_t)atomic_load(crash_word(word));

    if (troupe_usable_size(given) != 0) {
        if (!has_pattern(given, COUNTED_SIZE, PATTERN))
            crash_fail(CRASH_CORRUPTION, "a given block has other content");
        CRASH_REQUIRE(troupe_free(given) == 0, CRASH_CORRUPTION,
                      "a block given to the family cannot be freed");
    } else if (completed)
        crash_fail(CRASH_LOSS, "a block given to the family is gone");
}

static void
check_give(void)
{
    settle_heap();
    check_given_block(WORD_BLOCK, crash_completed());
    check_new();
}

SCENARIO(scope_give) = {
    .function = {FUNCTION(troupe_scope_give)},
    .state = "one block",
    .setup = setup,
    .prepare = prepare_block,
    .victim = victim_give,
    .check = check_give,
};

static void
second_prepare_block(void)
{
    prepare_scope();
    block = alloc_in(scope);
    atomic_store(crash_word(WORD_SECOND_BLOCK), (int64_t)(uintptr_t)block);
}

static void
second_give(void)
{
    answer(WORD_SECOND_ANSWER, troupe_scope_give(scope, block));
}

/* The second one's may lie where the first one's had, which died with it. */
static void
check_give_two(void)
{
    settle_heap();
    check_given_block(WORD_SECOND_BLOCK, crash_second_completed());
    if (atomic_load(crash_word(WORD_BLOCK)) !=
        atomic_load(crash_word(WORD_SECOND_BLOCK)))
        check_given_block(WORD_BLOCK, crash_completed());
    else if (crash_completed())
        crash_fail(CRASH_DUPLICATE, "a block given to the family was handed "
                                    "out");
    check_new();
}

SCENARIO(scope_give_two) = {
    .function = {FUNCTION(troupe_scope_give)},
    .state = "one block, a second victim gives one too",
    .setup = setup,
    .prepare = prepare_block,
    .victim = victim_give,
    .second_prepare = second_prepare_block,
    .second = second_give,
    .check = check_give_two,
};

static void
victim_free(void)
{
    int status = troupe_scope_free(scope);
    unsigned i;

    /* It is all gone now, and not only when its owner is. */
    for (i = 0; i < MANY && status == 0; i++)
        if (troupe_usable_size(blocks[i]) != 0)
            status = -EEXIST;
    if (troupe_usable_size(block) != 0)
        status = -EEXIST;
    answer(WORD_ANSWER, status);
}

SCENARIO(scope_free) = {
    .function = {FUNCTION(troupe_scope_free)},
    .state = "one block",
    .setup = setup,
    .prepare = prepare_block,
    .victim = victim_free,
    .survivors = {use_scope, survive},
    .check = check_new,
};

SCENARIO(scope_free_many) = {
    .function = {FUNCTION(troupe_scope_free)},
    .state = "45 blocks in two lists",
    .setup = setup,
    .prepare = prepare_many,
    .victim = victim_free,
    .survivors = {use_scope, survive},
    .check = check_new,
};

/*
 * The list still names the blocks when the scope is freed: one was given away,
 * one freed early and its memory allocated again. Both are runs of pages, and
 * the victim's own, whose slot their owner words name.
 */
static void
prepare_given(void)
{
    unsigned i;

    prepare_scope();
    for (i = 0; i < GIVEN; i++) {
        void *given = troupe_scope_alloc(scope, GIVEN_SIZE);

        CRASH_REQUIRE(given != NULL, CRASH_CORRUPTION, "alloc");
        if (i == 0) {
            CRASH_REQUIRE(troupe_scope_give(scope, given) == 0,
                          CRASH_CORRUPTION, "give");
        } else {
            CRASH_REQUIRE(troupe_free(given) == 0 &&
                              troupe_alloc(GIVEN_SIZE) == given,
                          CRASH_CORRUPTION, "the memory is not used again");
        }
        memset(given, 0x33, GIVEN_SIZE);
        atomic_store(crash_word(WORD_GIVEN + i), (int64_t)(uintptr_t)given);
    }
}

static void
check_given(void)
{
    unsigned i;

    check_answers();
    use_scope();
    for (i = 0; i < GIVEN; i++) {
        void *given =
            (void *)(uintptr_t)atomic_load(crash_word(WORD_GIVEN + i));

        CRASH_REQUIRE(troupe_usable_size(given) >= GIVEN_SIZE &&
                          has_pattern(given, GIVEN_SIZE, 0x33),
                      CRASH_LOSS, "a block of the family is gone");
        CRASH_REQUIRE(troupe_free(given) == 0, CRASH_CORRUPTION,
                      "a block of the family cannot be freed");
    }
    counted_check(0);
}

SCENARIO(scope_free_given) = {
    .function = {FUNCTION(troupe_scope_free)},
    .state = "its list names large blocks of the family",
    .setup = setup,
    .prepare = prepare_given,
    .victim = victim_free,
    .survivors = {use_scope, survive},
    .check = check_given,
};

/* The victim finds a dead owner's scope, and dies while it clears it away. */
static void
peer_dies_with_scope(void)
{
    prepare_many();
    crash_ready();
}

/* It recovers by joining, and keeps nothing. */
static void
victim_settle(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    answer(WORD_ANSWER, troupe_heap_info_get(&info));
}

static void
second_settle(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    answer(WORD_SECOND_ANSWER, troupe_heap_info_get(&info));
}

SCENARIO(scope_recovered) = {
    .operation = "troupe_scope_free",
    .state = "none; the owner is dead, and so is who clears up",
    .setup = setup,
    .peers = {peer_dies_with_scope},
    .victim = victim_settle,
    .survivors = {use_scope, survive},
    .check = check_new,
};

/* Left little: a second victim at each point of the first multiplies. */
static void
peer_dies_with_one(void)
{
    prepare_block();
    crash_ready();
}

SCENARIO(scope_recovered_two) = {
    .operation = "troupe_scope_free",
    .state = "the owner is dead, two die clearing up",
    .setup = setup,
    .peers = {peer_dies_with_one},
    .late = 1,
    .prepare = join_family,
    .victim = victim_settle,
    .second_prepare = join_family,
    .second = second_settle,
    .survivors = {use_scope, NULL},
    .check = check_new,
};

/* ---- a list that is full of entries for memory that came back ---- */

enum { ENTRIES = 1040 }; /* what both lists of a scope hold */

static void
prepare_freed(void)
{
    void *last = NULL;
    unsigned i;

    prepare_block();
    for (i = 1; i < ENTRIES; i++) {
        /* The second of the two that stay is named once, in the second list. */
        if (i != ENTRIES / 2 && i != ENTRIES / 2 + 1)
            CRASH_REQUIRE(troupe_free(last) == 0, CRASH_CORRUPTION, "free");
        last = troupe_scope_alloc(scope, COUNTED_SIZE);
        CRASH_REQUIRE(last != NULL, CRASH_CORRUPTION, "alloc");
    }
}

SCENARIO(scope_alloc_sweeps) = {
    .function = {FUNCTION(troupe_scope_alloc)},
    .state = "the list is swept",
    .lengthy = true,
    .setup = setup,
    .prepare = prepare_freed,
    .victim = victim_alloc,
    .survivors = {use_scope, survive},
    .check = check_new,
};
