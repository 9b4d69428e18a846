/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/slab.h"

#include "base/math.h"
#include "heap/alloc.h"
#include "heap/mutex.h"
#include "heap/pages.h"

#include <string.h>

/*
 * The classes: 16-byte steps up to 128, then four per doubling up to 8192.
 * Everything about a slab that does not change follows from its class, so that
 * nothing of it is read from shared memory.
 */
struct class_shape {
    uint32_t size;
    uint32_t pages;
    uint32_t blocks;
    uint32_t first;   /* offset of block 0, a multiple of 64 */
    uint32_t inverse; /* for the division by size: 2^32 / size, rounded up */
    uint32_t magazine;
};

#define BLOCKS(size, pages) \
 (((pages)*TROUPE__PAGE - 63) / ((size) + (uint32_t)sizeof(uint32_t)))
#define SHAPE(size, pages, magazine)                                    \
 {                                                                      \
  size, pages, BLOCKS(size, pages),                                     \
      (BLOCKS(size, pages) * (uint32_t)sizeof(uint32_t) + 63) & ~63u,   \
      (uint32_t)((UINT64_C(0x100000000) + (size)-1) / (size)), magazine \
 }

static const struct class_shape shapes[TROUPE__CLASSES] = {
    SHAPE(16, 4, 16),   SHAPE(32, 4, 16),   SHAPE(48, 4, 16),
    SHAPE(64, 4, 16),   SHAPE(80, 4, 16),   SHAPE(96, 4, 16),
    SHAPE(112, 4, 16),  SHAPE(128, 4, 16),  SHAPE(160, 8, 16),
    SHAPE(192, 8, 16),  SHAPE(224, 8, 16),  SHAPE(256, 8, 16),
    SHAPE(320, 8, 16),  SHAPE(384, 8, 16),  SHAPE(448, 8, 16),
    SHAPE(512, 8, 16),  SHAPE(640, 8, 8),   SHAPE(768, 8, 8),
    SHAPE(896, 8, 8),   SHAPE(1024, 8, 8),  SHAPE(1280, 16, 8),
    SHAPE(1536, 16, 8), SHAPE(1792, 16, 8), SHAPE(2048, 16, 8),
    SHAPE(2560, 16, 4), SHAPE(3072, 16, 4), SHAPE(3584, 16, 4),
    SHAPE(4096, 16, 4), SHAPE(5120, 16, 4), SHAPE(6144, 16, 4),
    SHAPE(7168, 16, 4), SHAPE(8192, 16, 4),
};
#define MOST_PAGES 16u

uint32_t
troupe__class_of(size_t size)
{
    unsigned doubling;

    if (size <= 128)
        return size == 0 ? 0 : (uint32_t)((size - 1) / 16);
    doubling = troupe__log2(size - 1); /* 7 for 129..256 */
    return 8 + (doubling - 7) * 4 +
           (uint32_t)((size - 1 - ((size_t)1 << doubling)) >> (doubling - 2));
}

uint32_t
troupe__class_size(uint32_t size_class)
{
    return shapes[size_class].size;
}

uint32_t
troupe__class_magazine(uint32_t size_class)
{
    return shapes[size_class].magazine;
}

/*
 * What changes in a slab, derived from its owner words, is kept beside the
 * arena, in the descriptors of its first two pages, where no user's overflow
 * reaches it: the links of the list of slabs with free blocks in the first; how
 * many are free, and where to look for one, in the second. All under the class
 * lock.
 */
static uint32_t *
slab_free(uint32_t page)
{
    return &troupe__page_at(page + 1)->u.link.next;
}

static uint32_t *
slab_hint(uint32_t page)
{
    return &troupe__page_at(page + 1)->u.link.previous;
}

/* The owner words, at the beginning of the slab's memory. A word that is not 0
 * belongs to who it names; 0 becomes something else under the class lock. */
static uint32_t *
slab_owners(uint32_t page)
{
    return troupe__page_memory(page);
}

static void *
block_at(uint32_t page, const struct class_shape *shape, uint32_t number)
{
    return (unsigned char *)troupe__page_memory(page) + shape->first +
           (size_t)number * shape->size;
}

static uint64_t
slab_head(uint32_t size_class)
{
    return troupe__page_head(TROUPE__PAGE_SLAB, shapes[size_class].pages,
                             size_class);
}

/* How many blocks of a slab are free. */
static uint32_t
slab_count(uint32_t page, uint32_t size_class)
{
    const uint32_t *owners = slab_owners(page);
    uint32_t free = 0;
    uint32_t i;

    for (i = 0; i < shapes[size_class].blocks; i++)
        if (troupe__load_relaxed(&owners[i]) == 0)
            free++;
    return free;
}

static void
list_insert(struct troupe__size_class *class, uint32_t page)
{
    struct troupe__page *p = troupe__page_at(page);

    p->u.link.previous = 0;
    troupe__store_relaxed(&p->u.link.next, class->partial);
    if (class->partial != 0)
        troupe__page_linked(class->partial, TROUPE__PAGE_SLAB)
            ->u.link.previous = page + 1;
    class->partial = page + 1;
}

static void
list_remove(struct troupe__size_class *class, uint32_t page)
{
    struct troupe__page *p = troupe__page_at(page);

    if (class->partial != page + 1)
        troupe__store_relaxed(
            &troupe__page_linked(p->u.link.previous, TROUPE__PAGE_SLAB)
                 ->u.link.next,
            p->u.link.next);
    else
        class->partial = p->u.link.next;
    if (p->u.link.next != 0)
        troupe__page_linked(p->u.link.next, TROUPE__PAGE_SLAB)
            ->u.link.previous = p->u.link.previous;
}

struct rebuild {
    struct troupe__size_class *class;
    uint32_t size_class;
};

static void
rebuild_slab(uint32_t page, uint64_t head, void *context)
{
    const struct rebuild *r = context;
    uint32_t free;

    /* As a whole: one that is shorter, by a wild store, may end where no memory
     * is. */
    if (head != slab_head(r->size_class))
        return;
    free = slab_count(page, r->size_class);
    *slab_free(page) = free;
    *slab_hint(page) = 0;
    if (free != 0)
        list_insert(r->class, page);
}

static void
class_rebuild(struct troupe__thread *self, struct troupe__size_class *class,
              uint32_t size_class)
{
    struct rebuild r = {class, size_class};

    class->partial = 0;
    troupe__pages_walk(self, rebuild_slab, &r);
}

static struct troupe__size_class *
class_lock(struct troupe__thread *self, uint32_t size_class)
{
    struct troupe__size_class *class =
        &troupe__family.heap->classes[size_class];

    if (troupe__mutex_acquire(self, &class->lock, TROUPE_FOREVER, NULL) == 1)
        class_rebuild(self, class, size_class);
    return class;
}

static void
class_unlock(struct troupe__thread *self, struct troupe__size_class *class)
{
    troupe__mutex_release(self, &class->lock);
}

/* A new slab for the class, whose lock is held. */
static bool
slab_new(struct troupe__thread *self, struct troupe__size_class *class,
         uint32_t size_class)
{
    const struct class_shape *shape = &shapes[size_class];
    uint32_t page = troupe__pages_new(self, shape->pages);
    uint32_t i;

    if (page == TROUPE__NO_PAGE)
        return false;
    memset(slab_owners(page), 0, shape->blocks * sizeof(uint32_t));
    for (i = 1; i < shape->pages; i++)
        troupe__store_relaxed(&troupe__page_at(page + i)->head,
                              troupe__page_head(TROUPE__PAGE_PART, page, 0));
    *slab_free(page) = shape->blocks;
    *slab_hint(page) = 0;
    /* The commit: from a block of this thread to a slab. Killed before, the run
     * goes back with the thread; after, the class lock's next holder lists the
     * slab. release: pairs with the look at the head in slab_find. */
    troupe__store_release(&troupe__page_at(page)->head, slab_head(size_class));
    /* release: not before the commit. */
    troupe__store_release(&self->slot->run_page, 0u);
    list_insert(class, page);
    return true;
}

/* A slab without used blocks goes back, unless it is the class's only one with
 * free blocks. The class lock is held. */
static void
slab_give_back(struct troupe__thread *self, struct troupe__size_class *class,
               uint32_t size_class, uint32_t page)
{
    const struct class_shape *shape = &shapes[size_class];
    struct troupe__page *p = troupe__page_at(page);
    uint32_t i;

    if (p->u.link.next == 0 && p->u.link.previous == 0)
        return;
    /* Under the lock a word that is 0 stays so. What was counted may be wrong:
     * a wild store. */
    if (slab_count(page, size_class) != shape->blocks) {
        class_rebuild(self, class, size_class);
        return;
    }
    list_remove(class, page);
    self->slot->run_page = page + 1;
    troupe__fence_crash();
    troupe__store_relaxed(&p->u.owner, troupe__owner_held(self->slot));
    /* The commit: a block held by this thread again. */
    troupe__store_release(
        &p->head, troupe__page_head(TROUPE__PAGE_LARGE, shape->pages, 0));
    for (i = 1; i < shape->pages; i++)
        troupe__store_relaxed(&troupe__page_at(page + i)->head, UINT64_C(0));
    troupe__pages_free(self, page);
}

/* Whether a slab of the class begins at a page whose number was read from
 * shared memory. */
static bool
is_slab(uint32_t page, uint32_t size_class)
{
    uint64_t head;

    if (troupe__page_of(troupe__family.arena_offset +
                        (uint64_t)page * TROUPE__PAGE) == TROUPE__NO_PAGE)
        return false;
    head = troupe__load_relaxed(&troupe__page_at(page)->head);
    return head == slab_head(size_class);
}

/* A slab with free blocks; TROUPE__NO_PAGE: no memory. */
static uint32_t
slab_get(struct troupe__thread *self, struct troupe__size_class *class,
         uint32_t size_class)
{
    if (class->partial != 0 && !is_slab(class->partial - 1, size_class))
        class_rebuild(self, class, size_class);
    if (class->partial == 0 && !slab_new(self, class, size_class))
        return TROUPE__NO_PAGE;
    return class->partial - 1;
}

/* Moves up to `want` blocks of a slab into the calling thread's empty magazine;
 * returns how many. */
static uint32_t
slab_take(struct troupe__thread *self, struct troupe__size_class *class,
          uint32_t size_class, uint32_t page, uint32_t want)
{
    const struct class_shape *shape = &shapes[size_class];
    struct troupe__slot *slot = self->slot;
    uint32_t *owners = slab_owners(page);
    uint32_t count = 0;
    uint32_t i;

    for (i = *slab_hint(page); i < shape->blocks && count != want; i++) {
        if (troupe__load_relaxed(&owners[i]) != 0)
            continue;
        /* In this order: a block that the owner word gives to this thread is
         * found in its magazine, at or below the count. */
        troupe__store_relaxed(&slot->magazine[size_class][count],
                              troupe__block_record(block_at(page, shape, i)));
        troupe__store_release(&owners[i], TROUPE__OWNER_CACHED | self->index);
        troupe__store_release(&slot->magazine_count[size_class], ++count);
        --*slab_free(page);
    }
    *slab_hint(page) = i;
    /* Nothing is free in front of the hint: what is freed there sets it back.
     * So at the end nothing is free at all; were the count wrong (a user has
     * overwritten owner words), it is put right here. */
    if (*slab_free(page) == 0 || i >= shape->blocks) {
        *slab_free(page) = 0;
        list_remove(class, page);
    }
    return count;
}

bool
troupe__slab_refill(struct troupe__thread *self, uint32_t size_class)
{
    struct troupe__size_class *class = class_lock(self, size_class);
    uint32_t want = shapes[size_class].magazine / 2;
    uint32_t count = 0;

    troupe__store_release(&self->slot->magazine_count[size_class], 0u);
    while (count == 0) {
        uint32_t page = slab_get(self, class, size_class);

        if (page == TROUPE__NO_PAGE)
            break;
        count = slab_take(self, class, size_class, page, want);
        if (count == 0) /* listed without free blocks: a wild store */
            class_rebuild(self, class, size_class);
    }
    class_unlock(self, class);
    return count != 0;
}

/* The first page of the slab that a page belongs to. acquire: pairs with the
 * commit in slab_new. */
static bool
slab_find(uint32_t page, uint32_t *ret_page, uint32_t *ret_class)
{
    uint64_t head = troupe__load_acquire(&troupe__page_at(page)->head);

    if (troupe__page_state(head) == TROUPE__PAGE_PART) {
        uint32_t first = troupe__page_length(head);

        if (first >= page || page - first >= MOST_PAGES)
            return false;
        page = first;
        head = troupe__load_acquire(&troupe__page_at(page)->head);
    }
    if (troupe__page_state(head) != TROUPE__PAGE_SLAB ||
        troupe__page_class(head) >= TROUPE__CLASSES)
        return false;
    *ret_page = page;
    *ret_class = troupe__page_class(head);
    return true;
}

uint32_t *
troupe__slab_owner(const void *block, uint32_t page, uint32_t *ret_class)
{
    const struct class_shape *shape;
    uint32_t offset;
    uint32_t number;

    if (!slab_find(page, &page, ret_class))
        return NULL;
    shape = &shapes[*ret_class];
    offset = (uint32_t)((const unsigned char *)block -
                        (const unsigned char *)troupe__page_memory(page));
    if (offset < shape->first)
        return NULL;
    offset -= shape->first;
    /* Exact: offset is below 2^16 and size at most 2^13. */
    number = (uint32_t)(((uint64_t)offset * shape->inverse) >> 32);
    if (number >= shape->blocks || number * shape->size != offset)
        return NULL;
    return &slab_owners(page)[number];
}

/* Frees one cached block; the class lock is held. */
static void
block_return(struct troupe__thread *self, struct troupe__size_class *class,
             void *block, uint32_t owner)
{
    uint32_t page = troupe__page_of(troupe__family_offset(block));
    uint32_t size_class;
    uint32_t number;
    uint32_t *word;

    if (page == TROUPE__NO_PAGE)
        return;
    word = troupe__slab_owner(block, page, &size_class);
    if (word == NULL || class != &troupe__family.heap->classes[size_class] ||
        troupe__load_relaxed(word) != owner ||
        !slab_find(page, &page, &size_class))
        return;
    troupe__store_release(word, 0u);
    number = (uint32_t)(word - slab_owners(page));
    if (number < *slab_hint(page))
        *slab_hint(page) = number;
    if (++*slab_free(page) == 1)
        list_insert(class, page);
    if (*slab_free(page) == shapes[size_class].blocks)
        slab_give_back(self, class, size_class, page);
}

void
troupe__slab_drain(struct troupe__thread *self, uint32_t size_class)
{
    struct troupe__size_class *class = class_lock(self, size_class);
    struct troupe__slot *slot = self->slot;
    uint32_t keep = shapes[size_class].magazine / 2;
    uint32_t count;

    count = slot->magazine_count[size_class];
    if (count > TROUPE__MAGAZINE)
        count = TROUPE__MAGAZINE; /* a wild store */
    for (; count > keep; count--) {
        block_return(self, class,
                     troupe__block_at(slot->magazine[size_class][count - 1]),
                     TROUPE__OWNER_CACHED | self->index);
        troupe__store_release(&slot->magazine_count[size_class], count - 1);
    }
    class_unlock(self, class);
    troupe__pages_trim(self);
}

void
troupe__slab_recover(struct troupe__thread *self, struct troupe__slot *slot,
                     uint32_t index)
{
    uint32_t size_class;

    for (size_class = 0; size_class < TROUPE__CLASSES; size_class++) {
        uint32_t count = slot->magazine_count[size_class];
        struct troupe__size_class *class;
        uint32_t i;

        if (count > TROUPE__MAGAZINE)
            count = TROUPE__MAGAZINE; /* damaged */
        if (count == 0 && slot->magazine[size_class][0] == 0)
            continue;
        class = class_lock(self, size_class);
        /* One beyond the count: a block on its way into the magazine has its
         * place and its owner word before it is counted. The last may be on its
         * way out: still counted, and given but not returned. */
        for (i = 0; i <= count && i < TROUPE__MAGAZINE; i++) {
            void *block = troupe__block_at(slot->magazine[size_class][i]);

            block_return(self, class, block, TROUPE__OWNER_CACHED | index);
            if (i + 1 == count)
                block_return(self, class, block, TROUPE__OWNER_GIVEN | index);
        }
        slot->magazine[size_class][0] = 0;
        troupe__store_release(&slot->magazine_count[size_class], 0u);
        class_unlock(self, class);
    }
    troupe__pages_trim(self);
}
