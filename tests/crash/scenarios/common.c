/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_SCENARIOS = 512,
    MAX_COUNTED = 16384,
    MAX_CLASSES = 64,
    KEPT = 6,
    LARGEST = 8192,
    /* A class in slabs of few pages, and how many are in one. */
    FILLER = 112,
    FILLER_SLAB = 140,
    /* Two of those take the pages of one with so many blocks. */
    COUNTED_SLAB = 31,
    LIMIT = 2048 * 1024,
    PAGE = 4096,
    STEP = 64
};

static struct crash_scenario added[MAX_SCENARIOS];
static const struct crash_scenario *scenarios[MAX_SCENARIOS];
static size_t scenario_count;
static struct crash_exempt exempts[MAX_SCENARIOS];
static size_t exempt_count;

void
scenario_add(const struct crash_scenario *scenario)
{
    struct crash_scenario *copy = &added[scenario_count];

    if (scenario_count == MAX_SCENARIOS)
        abort();
    *copy = *scenario;
    if (copy->function[0].name != NULL) {
        copy->operation = copy->function[0].name;
        copy->covers = copy->function;
    }
    scenarios[scenario_count++] = copy;
}

void
exempt_add(const struct crash_exempt *exempt)
{
    if (exempt_count == MAX_SCENARIOS)
        abort();
    exempts[exempt_count++] = *exempt;
}

int
main(int argc, char **argv)
{
    return crash_main(argc, argv, scenarios, scenario_count, exempts,
                      exempt_count);
}

void
join_family(void)
{
    CRASH_REQUIRE(troupe_free(troupe_alloc(16)) == 0, CRASH_CORRUPTION,
                  "the family cannot be joined");
}

void *
family_memory(size_t size)
{
    void *memory = troupe_calloc(1, size);

    CRASH_REQUIRE(memory != NULL, CRASH_CORRUPTION, "no memory for a setup");
    return memory;
}

/* ---- counting blocks ---- */

/* How many blocks of a size there are room for. */
struct room {
    size_t size;
    unsigned count;
};

static unsigned char *kept[KEPT];
static size_t counted_size = COUNTED_SIZE;
static size_t limit = LIMIT;
/* The size that is counted, the filler, then those of all classes. */
static struct room before[2 + MAX_CLASSES];
static unsigned rooms = 2;

void
counted_class(size_t size)
{
    counted_size = size;
}

void *
patterned(size_t size, unsigned char pattern)
{
    void *block = troupe_alloc(size);

    if (block != NULL)
        memset(block, pattern, size);
    return block;
}

bool
has_pattern(const void *block, size_t size, unsigned char pattern)
{
    const unsigned char *bytes = block;
    size_t i;

    for (i = 0; i < size; i++)
        if (bytes[i] != pattern)
            return false;
    return true;
}

/*
 * Allocates until nothing is left, and frees it again; all blocks distinct.
 * First of the size that is counted, which takes the pages; then of the filler,
 * which takes what pages are left between them; then of each class what its
 * slabs still have.
 */
static void
count_blocks(struct room *room)
{
    static unsigned *blocks[MAX_COUNTED];
    static size_t sizes[MAX_COUNTED];
    unsigned count = 0, i;

    for (i = 0; i < rooms; i++) {
        size_t size = room[i].size;
        unsigned *block;

        room[i].count = 0;
        while (count < MAX_COUNTED && (block = troupe_alloc(size)) != NULL) {
            block[0] = count;
            block[size / sizeof(*block) - 1] = ~count;
            sizes[count] = size;
            blocks[count++] = block;
            room[i].count++;
        }
    }
    CRASH_REQUIRE(count < MAX_COUNTED, CRASH_CORRUPTION, "too many to count");
    for (i = 0; i < count; i++) {
        CRASH_REQUIRE(blocks[i][0] == i &&
                          blocks[i][sizes[i] / sizeof(i) - 1] == ~i,
                      CRASH_DUPLICATE, "a block was handed out twice");
        CRASH_REQUIRE(troupe_free(blocks[i]) == 0, CRASH_CORRUPTION,
                      "a block cannot be freed");
    }
}

void
heap_limit(size_t most)
{
    limit = most;
}

void
limited_heap(void)
{
    int status =
        troupe_heap_setup(TROUPE_OPTIONS(troupe_heap_options, .limit = limit));

    CRASH_REQUIRE(status == 0 || status == -EBUSY, CRASH_CORRUPTION, "no heap");
}

/* All that is there before the counting. */
static void
first_blocks(void)
{
    size_t size = 1;
    unsigned i;

    limited_heap();
    for (i = 0; i < KEPT; i++) {
        kept[i] = patterned(COUNTED_SIZE, (unsigned char)(0xa0 + i));
        CRASH_REQUIRE(kept[i] != NULL, CRASH_CORRUPTION, "no block to keep");
    }
    /* A class keeps its last slab, so every class gets its own before the
     * counting, and no block of any of them is lost unseen. */
    for (rooms = 2; size <= LARGEST && rooms < 2 + MAX_CLASSES; rooms++) {
        void *block = troupe_alloc(size);

        CRASH_REQUIRE(block != NULL, CRASH_CORRUPTION,
                      "the first block of a class");
        before[rooms].size = troupe_usable_size(block);
        size = troupe_usable_size(block) + 1;
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "the first block of a class");
    }
    before[0].size = counted_size;
    before[1].size = FILLER;
}

void
counted_heap(void)
{
    first_blocks();
    count_blocks(before);
    CRASH_REQUIRE(before[1].count % FILLER_SLAB == 0, CRASH_CORRUPTION,
                  "%u blocks of %d bytes are no whole slabs", before[1].count,
                  FILLER);
    CRASH_REQUIRE(before[0].count > 20, CRASH_CORRUPTION, "only %u blocks",
                  before[0].count);
}

/* Counting makes a heap grow to its limit, so it is done in a child's own. */
void
growing_heap(void)
{
    struct room *shared = mmap(NULL, sizeof(before), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;

    CRASH_REQUIRE(shared != MAP_FAILED, CRASH_CORRUPTION, "mmap: %d", errno);
    pid = fork();
    CRASH_REQUIRE(pid >= 0, CRASH_CORRUPTION, "fork: %d", errno);
    if (pid == 0) {
        counted_heap();
        memcpy(shared, before, sizeof(before));
        _exit(0);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    first_blocks();
    memcpy(before, shared, sizeof(before));
    munmap(shared, sizeof(before));
    CRASH_REQUIRE(before[0].count > 20, CRASH_CORRUPTION, "only %u blocks",
                  before[0].count);
}

bool
heap_steps(bool (*visit)(void *address, size_t size), size_t size)
{
    uintptr_t middle = (uintptr_t)kept[0] & ~(uintptr_t)(PAGE - 1), at;

    for (at = middle - limit; at < middle + limit; at += STEP)
        if (troupe_heap_contains((void *)at, STEP) && visit((void *)at, size))
            return true;
    return false;
}

void
settle_heap(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                  "no figures about the heap");
}

static void *found;

/* A block of at least this size; a small one of no other size class. */
static bool
is_of_size(void *block, size_t size)
{
    size_t usable = troupe_usable_size(block);
    unsigned i;

    if (usable < size || (size <= LARGEST && usable - size >= size / 8))
        return false;
    for (i = 0; i < KEPT; i++)
        if (kept[i] == block)
            return false;
    found = block;
    return true;
}

void *
victims_block(size_t size)
{
    /* What is given and was not returned yet goes back with the dead. */
    settle_heap();
    return heap_steps(is_of_size, size) ? found : NULL;
}

bool
free_victims_block(size_t size)
{
    void *block = victims_block(size);

    if (block == NULL)
        return false;
    CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                  "what the victim got cannot be freed");
    return true;
}

void
handed_check(const unsigned *words, unsigned victims, size_t size)
{
    unsigned unnamed = 0, i;

    settle_heap();
    for (i = 0; i < victims; i++) {
        void *block = (void *)(uintptr_t)atomic_load(crash_word(words[i]));

        if (block == NULL) {
            if (i == 0 ? crash_completed() : crash_second_completed())
                crash_fail(CRASH_CORRUPTION, "victim %u got no block", i);
            unnamed++;
            continue;
        }
        if (troupe_usable_size(block) < size)
            crash_give_up(CRASH_LOSS, "what victim %u was given was taken back",
                          i);
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "what a victim was given cannot be freed");
    }
    for (; unnamed != 0 && free_victims_block(size); unnamed--) {
    }
    counted_check(0);
}

/* ---- no memory left ---- */

void *
exhaust_heap(void)
{
    void *taken = NULL;
    unsigned i;

    /* Runs of pages of any length, then what the slabs have. */
    for (i = 1; i < rooms; i++) {
        size_t size = i == 1 ? LARGEST + 1 : before[i].size;
        void **block;

        while ((block = troupe_alloc(size)) != NULL) {
            *block = taken;
            taken = block;
        }
    }
    return taken;
}

void
relieve_heap(void *taken)
{
    while (taken != NULL) {
        void *block = taken;

        memcpy(&taken, block, sizeof(taken));
        CRASH_REQUIRE(troupe_free(block) == 0, CRASH_CORRUPTION,
                      "a block that the setup took cannot be freed");
    }
}

void
counted_check(unsigned hands)
{
    troupe_heap_info info = {.size = sizeof(info)};
    struct room now[2 + MAX_CLASSES];
    char which[120] = "";
    unsigned lost = 0, i;

    /* Settles what the dead left. */
    CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                  "no figures about the heap");
    if (info.members != 1)
        crash_fail(CRASH_CORRUPTION, "%u members are left", info.members);
    for (i = 0; i < KEPT; i++)
        if (!has_pattern(kept[i], COUNTED_SIZE, (unsigned char)(0xa0 + i)))
            crash_fail(CRASH_CORRUPTION, "a live block was overwritten");
    memcpy(now, before, sizeof(now));
    count_blocks(now);
    /* Slabs that the counted size has less, and the filler more in their pages,
     * are not lost. */
    if (counted_size == COUNTED_SIZE)
        while (now[0].count + COUNTED_SLAB <= before[0].count &&
               now[1].count >= before[1].count + 2 * FILLER_SLAB) {
            now[0].count += COUNTED_SLAB;
            now[1].count -= 2 * FILLER_SLAB;
        }
    for (i = 0; i < rooms; i++) {
        unsigned had = before[i].count, has = now[i].count, less;
        size_t used = strlen(which);

        /* Pages that are left elsewhere now give the filler a slab more or
         * less; the size that is counted misses those that are lost. */
        if (i == 1) {
            had %= FILLER_SLAB;
            has %= FILLER_SLAB;
            less = (had + FILLER_SLAB - has) % FILLER_SLAB;
        } else {
            if (has > had)
                crash_fail(CRASH_DUPLICATE,
                           "%u blocks of %zu bytes where there were %u", has,
                           now[i].size, had);
            less = had > has ? had - has : 0;
        }
        lost += less;
        if (less != 0)
            snprintf(which + used, sizeof(which) - used, ", %u of %zu bytes",
                     less, now[i].size);
    }
    if (lost > hands)
        crash_fail(CRASH_LOSS, "%u blocks lost%s; %u was allowed", lost, which,
                   hands);
}

void
use_heap(void)
{
    enum { SOME = 12 };

    static const size_t sizes[] = {16, COUNTED_SIZE, 20000};
    unsigned char *blocks[SOME];
    unsigned i;

    for (i = 0; i < SOME; i++) {
        size_t size = sizes[i % 3];

        blocks[i] = patterned(size, (unsigned char)(i + 1));
        CRASH_REQUIRE(blocks[i] != NULL || errno == ENOMEM, CRASH_CORRUPTION,
                      "alloc: %d", errno);
    }
    for (i = 0; i < SOME; i++) {
        size_t size = sizes[i % 3];

        if (blocks[i] == NULL)
            continue;
        CRASH_REQUIRE(has_pattern(blocks[i], size, (unsigned char)(i + 1)),
                      CRASH_DUPLICATE, "a block was handed out twice");
        CRASH_REQUIRE(troupe_free(blocks[i]) == 0, CRASH_CORRUPTION,
                      "a block cannot be freed");
    }
}
