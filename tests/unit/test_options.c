/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <troupe/error.h>
#include <troupe/heap.h>
#include <troupe/lock.h>

#include "heap/options.h"

#include <string.h>

struct options {
    size_t size;
    uint32_t first;
    uint32_t second;
    uint64_t third;
};

/* The same as a later library would have it. */
struct longer {
    struct options known;
    uint64_t unknown;
    unsigned char last;
};

TEST(options_null_is_all_defaults)
{
    struct options o;

    memset(&o, 0xff, sizeof(o));
    CHECK_RC(troupe__options_copy(&o, sizeof(o), NULL), 0);
    CHECK_EQ(o.size, sizeof(o));
    CHECK_EQ(o.first, 0u);
    CHECK_EQ(o.second, 0u);
    CHECK_EQ(o.third, 0u);
}

TEST(options_shorter_struct_is_completed_with_zeros)
{
    struct options given = {.first = 1, .second = 2, .third = 3};

    for (size_t size = sizeof(size_t); size <= sizeof(given); size++) {
        struct options o;
        struct options expected;

        memset(&o, 0xff, sizeof(o));
        memset(&expected, 0, sizeof(expected));
        given.size = size;
        memcpy(&expected, &given, size);
        expected.size = sizeof(expected);
        CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), 0);
        CHECK_MEM(&o, &expected, sizeof(o));
    }
}

TEST(options_size_that_cannot_be_is_refused)
{
    struct options given = {.first = 1};
    struct options o;
    size_t size;

    for (size = 0; size < sizeof(size_t); size++) {
        given.size = size;
        CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), -EINVAL);
    }
    /* forgotten to set: nothing beyond it is read */
    for (size = SIZE_MAX; size > 4096; size /= 2) {
        given.size = size;
        CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), -EINVAL);
    }
}

TEST(options_longer_struct_counts_if_its_tail_is_zero)
{
    struct longer given;
    struct options o;

    memset(&given, 0, sizeof(given));
    given.known.size = sizeof(given);
    given.known.third = 3;
    CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), 0);
    CHECK_EQ(o.size, sizeof(o));
    CHECK_EQ(o.third, 3u);
    given.unknown = UINT64_C(1) << 63;
    CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), -E2BIG);
    given.unknown = 0;
    given.last = 1;
    CHECK_RC(troupe__options_copy(&o, sizeof(o), &given), -E2BIG);
}

TEST(options_unknown_ones_are_refused_and_nothing_happens)
{
    struct {
        troupe_heap_options known;
        uint64_t unknown;
    } heap = {.known = {.size = sizeof(heap)}, .unknown = 1};

    troupe_heap_options reserved = {.size = sizeof(reserved)};
    troupe_lock_options lock_options = {.size = sizeof(lock_options)};
    troupe_lock lock;
    troupe_lock before;

    CHECK_RC(troupe_heap_setup(&heap.known), -E2BIG);
    reserved.reserved_[sizeof(reserved.reserved_) - 1] = 1;
    CHECK_RC(troupe_heap_setup(&reserved), -E2BIG);
    CHECK(!troupe_heap_contains(&heap, 1));
    memset(&lock, 0x5a, sizeof(lock));
    before = lock;
    lock_options.reserved_[0] = 1;
    CHECK_RC(troupe_lock_init(&lock, &lock_options), -E2BIG);
    CHECK_MEM(&lock, &before, sizeof(lock));
    lock_options.size = 3;
    CHECK_RC(troupe_lock_init(&lock, &lock_options), -EINVAL);
    CHECK_MEM(&lock, &before, sizeof(lock));
    /* the heap does not exist yet: nothing happened */
    heap.unknown = 0;
    CHECK_RC(troupe_heap_setup(&heap.known), 0);
}

TEST(options_macro_sets_the_size)
{
    const troupe_lock_options *o =
        TROUPE_OPTIONS(troupe_lock_options, .poison = true);

    CHECK_EQ(o->size, sizeof(*o));
    CHECK(o->poison);
    CHECK(!o->unowned);
}
