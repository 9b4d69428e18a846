/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/alloc.h"

#include "base/atomic.h"
#include "base/math.h"
#include "heap/directory.h"
#include "heap/options.h"
#include "heap/pages.h"
#include "heap/scope.h"
#include "heap/slab.h"
#include "heap/slot.h"

#include <troupe/scope.h>

#include <errno.h>
#include <string.h>

/* Where the owner word of a block stands, and how large the block is. */
struct place {
    uint32_t *owner;
    size_t size;
    uint32_t size_class; /* TROUPE__CLASSES for a run of its own */
    uint32_t page;
};

static bool
block_find(const void *block, struct place *place)
{
    uint64_t offset;
    uint64_t head;

    /* acquire: what describes the heap is read after it is there. */
    if (troupe__load_acquire(&troupe__family.heap) == NULL)
        return false;
    offset = troupe__family_offset(block);
    if ((offset & 15) != 0)
        return false;
    place->page = troupe__page_of(offset);
    if (place->page == TROUPE__NO_PAGE)
        return false;
    head = troupe__load_acquire(&troupe__page_at(place->page)->head);
    if (troupe__page_state(head) == TROUPE__PAGE_LARGE) {
        if (troupe__page_memory(place->page) != block ||
            troupe__page_length(head) >
                troupe__family.arena_pages - place->page)
            return false;
        place->owner = &troupe__page_at(place->page)->u.owner;
        place->size = (size_t)troupe__page_length(head) * TROUPE__PAGE;
        place->size_class = TROUPE__CLASSES;
        return true;
    }
    place->owner = troupe__slab_owner(block, place->page, &place->size_class);
    if (place->owner == NULL)
        return false;
    place->size = troupe__class_size(place->size_class);
    return true;
}

/* The owner word of a block in the thread's magazine; NULL when the magazine
 * lies: a wild store has been there. */
static uint32_t *
magazine_owner(struct troupe__thread *self, uint32_t size_class,
               const void *block)
{
    uint32_t page = troupe__page_of(troupe__family_offset(block));
    uint32_t found;
    uint32_t *word;

    if (page == TROUPE__NO_PAGE)
        return NULL;
    word = troupe__slab_owner(block, page, &found);
    if (word == NULL || found != size_class ||
        troupe__load_relaxed(word) != (TROUPE__OWNER_CACHED | self->index))
        return NULL;
    return word;
}

static void *
small_new(struct troupe__thread *self, uint32_t size_class, uint32_t owner,
          uint32_t *record)
{
    struct troupe__slot *slot = self->slot;

    for (;;) {
        uint32_t count = slot->magazine_count[size_class];
        uint32_t *word;
        void *block;

        if (TROUPE__UNLIKELY(count - 1 >= TROUPE__MAGAZINE)) {
            if (!troupe__slab_refill(self, size_class))
                return NULL;
            continue;
        }
        block = troupe__block_at(slot->magazine[size_class][count - 1]);
        word = magazine_owner(self, size_class, block);
        /* Holder's list, owner word, count: killed in between, the block is
         * still in the magazine, or in the holder's list, or both and the owner
         * word tells which. */
        if (TROUPE__LIKELY(word != NULL)) {
            if (record != NULL)
                troupe__store_release(record, troupe__block_record(block));
            troupe__store_release(word, owner);
        }
        troupe__store_release(&slot->magazine_count[size_class], count - 1);
        if (TROUPE__LIKELY(word != NULL))
            return block;
    }
}

static void *
large_new(struct troupe__thread *self, size_t size, uint32_t owner,
          uint32_t *record)
{
    void *block;
    uint32_t page;

    if (size > (uint64_t)troupe__family.arena_pages * TROUPE__PAGE)
        return NULL;
    page = troupe__pages_new(
        self, (uint32_t)((size + TROUPE__PAGE - 1) / TROUPE__PAGE));
    if (page == TROUPE__NO_PAGE)
        return NULL;
    block = troupe__page_memory(page);
    if (record != NULL)
        troupe__store_release(record, troupe__block_record(block));
    troupe__store_release(&troupe__page_at(page)->u.owner, owner);
    troupe__store_release(&self->slot->run_page, 0u);
    return block;
}

void *
troupe__block_new(struct troupe__thread *self, size_t size, uint32_t owner,
                  uint32_t *record)
{
    if (size <= TROUPE__LARGEST_SMALL)
        return small_new(self, troupe__class_of(size), owner, record);
    return large_new(self, size, owner, record);
}

/* Room for one more in the magazine. */
static uint32_t
magazine_room(struct troupe__thread *self, uint32_t size_class)
{
    struct troupe__slot *slot = self->slot;

    if (slot->magazine_count[size_class] >= troupe__class_magazine(size_class))
        troupe__slab_drain(self, size_class);
    return slot->magazine_count[size_class];
}

static bool
place_free(struct troupe__thread *self, void *block, const struct place *place,
           uint32_t owner)
{
    struct troupe__slot *slot = self->slot;
    uint32_t count;

    if (place->size_class < TROUPE__CLASSES) {
        count = magazine_room(self, place->size_class);
        troupe__store_release(&slot->magazine[place->size_class][count],
                              troupe__block_record(block));
        /* The commit: it is free, and in our magazine one beyond the count. */
        if (!troupe__cas_seq_cst(place->owner, &owner,
                                 TROUPE__OWNER_CACHED | self->index))
            return false;
        troupe__store_release(&slot->magazine_count[place->size_class],
                              count + 1);
        return true;
    }
    /* Recovery takes a run that run_page names for one on its way in or out
     * also when it says that this thread handed it out, so it must not name one
     * that was: a list may say that a block is a scope's which was given away
     * since. Only this thread makes it its own by that, so looking once is
     * enough. */
    if (troupe__load_acquire(place->owner) != owner)
        return false;
    troupe__store_release(&slot->run_page, place->page + 1);
    /* The commit: from here on it is ours to give back, or our recovery's. */
    if (!troupe__cas_seq_cst(place->owner, &owner, troupe__owner_held(slot))) {
        troupe__store_release(&slot->run_page, 0u);
        return false;
    }
    troupe__pages_free(self, place->page);
    return true;
}

bool
troupe__block_free(struct troupe__thread *self, void *block, uint32_t owner)
{
    struct place place;

    return block_find(block, &place) && place_free(self, block, &place, owner);
}

bool
troupe__block_pass(void *block, uint32_t from, uint32_t to)
{
    struct place place;

    return block_find(block, &place) &&
           troupe__cas_seq_cst(place.owner, &from, to);
}

size_t
troupe__block_size(const void *block)
{
    struct place place;

    return block_find(block, &place) ? place.size : 0;
}

uint32_t
troupe__block_owner(const void *block)
{
    struct place place;
    uint32_t owner;

    if (!block_find(block, &place))
        return 0;
    owner = troupe__load_acquire(place.owner);
    return (owner & TROUPE__OWNER_KIND) == TROUPE__OWNER_CACHED ? 0 : owner;
}

void *
troupe__block_hold(struct troupe__thread *self, size_t size)
{
    uint32_t mine = troupe__owner_held(self->slot);
    uint32_t *entry = self->slot->held;
    uint32_t i;

    for (i = 0; i < TROUPE__HELD; i++, entry++) {
        /* An entry whose block has passed on since is free. */
        if (*entry == 0 ||
            troupe__block_owner(troupe__block_at(*entry)) != mine)
            return troupe__block_new(self, size, mine, entry);
    }
    return NULL;
}

uint32_t *
troupe__block_held_entry(struct troupe__thread *self, const void *block)
{
    uint32_t record = troupe__block_record(block);
    uint32_t *free_entry = NULL;
    uint32_t mine = troupe__owner_held(self->slot);
    uint32_t *entry = self->slot->held;
    uint32_t i;

    for (i = 0; i < TROUPE__HELD; i++, entry++) {
        if (*entry == record)
            return entry;
        if (free_entry == NULL &&
            (*entry == 0 ||
             troupe__block_owner(troupe__block_at(*entry)) != mine))
            free_entry = entry;
    }
    return free_entry;
}

void
troupe__alloc_recover_begun(struct troupe__slot *slot, uint32_t index)
{
    struct troupe__thread *self = troupe__thread_self;
    uint32_t mine = troupe__owner_held(slot);
    uint32_t page = slot->run_page;

    /* A run that was being allocated or freed. When it was allocated for a
     * holder whose list has it already, the holder's end frees it. */
    if (page != 0 &&
        page <= troupe__load_acquire(&troupe__family.heap->pages.pages_end)) {
        struct troupe__page *p = troupe__page_at(page - 1);

        if (troupe__page_state(troupe__load_acquire(&p->head)) ==
                TROUPE__PAGE_LARGE &&
            (troupe__load_acquire(&p->u.owner) == mine ||
             troupe__load_acquire(&p->u.owner) ==
                 (TROUPE__OWNER_GIVEN | index)))
            troupe__pages_free(self, page - 1);
        troupe__store_release(&slot->run_page, 0u);
    }
    troupe__slab_recover(self, slot, index);
}

void
troupe__alloc_recover_held(struct troupe__slot *slot, uint32_t index)
{
    struct troupe__thread *self = troupe__thread_self;
    uint32_t mine = troupe__owner_held(slot);
    uint32_t i;

    for (i = 0; i < TROUPE__HELD; i++) {
        void *block = troupe__block_at(slot->held[i]);

        if (slot->held[i] == 0)
            continue;
        if (troupe__block_owner(block) == mine) {
            if (troupe__directory_has_page(block)) {
                (void)troupe__block_pass(block, mine, TROUPE__OWNER_LIBRARY);
            } else {
                /* An object's magic goes first, so that a directory entry of
                 * it does not count whatever the memory is used for next. */
                troupe__store_release((uint64_t *)block, UINT64_C(0));
                (void)troupe__block_free(self, block, mine);
            }
        }
        troupe__store_release(&slot->held[i], 0u);
    }
    if (slot == self->slot)
        troupe__slab_recover(self, slot, index);
}

void *
troupe_alloc(size_t size)
{
    int error;
    struct troupe__thread *self = troupe__thread_enter(&error);
    void *block;

    if (self == NULL) {
        errno = -error;
        return NULL;
    }
    block = troupe__block_new(self, size, troupe__owner_given(self), NULL);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

/* A block that is to be filled before it is handed out: it dies with the thread
 * until block_hand_out(). */
static void *
block_draft(struct troupe__thread *self, size_t size)
{
    void *block = troupe__block_hold(self, size);

    if (block == NULL) /* no memory, or no more room in the list */
        block = troupe__block_new(self, size, troupe__owner_given(self), NULL);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

static void *
block_hand_out(struct troupe__thread *self, void *block)
{
    (void)troupe__block_pass(block, troupe__owner_held(self->slot),
                             troupe__owner_given(self));
    return block;
}

void *
troupe_calloc(size_t count, size_t size)
{
    struct troupe__thread *self;
    size_t total;
    void *block;
    int error;

    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    self = troupe__thread_enter(&error);
    if (self == NULL) {
        errno = -error;
        return NULL;
    }
    block = block_draft(self, total);
    if (block == NULL)
        return NULL;
    memset(block, 0, total);
    return block_hand_out(self, block);
}

char *
troupe_strdup(const char *text)
{
    struct troupe__thread *self;
    size_t size;
    char *copy;
    int error;

    if (text == NULL) {
        errno = EINVAL;
        return NULL;
    }
    self = troupe__thread_enter(&error);
    if (self == NULL) {
        errno = -error;
        return NULL;
    }
    size = strlen(text) + 1;
    copy = block_draft(self, size);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, size);
    return block_hand_out(self, copy);
}

/* Whether a user may free a block with this owner word. */
static bool
owner_frees(uint32_t owner)
{
    uint32_t kind = owner & TROUPE__OWNER_KIND;

    return kind == TROUPE__OWNER_GIVEN ||
           (kind == TROUPE__OWNER_HELD && troupe__scope_of(owner) != NULL);
}

int
troupe_free(void *block)
{
    struct place place;
    struct troupe__thread *self;
    uint32_t owner;
    int error;

    if (block == NULL)
        return 0;
    if (!block_find(block, &place))
        return -EINVAL;
    owner = troupe__load_acquire(place.owner);
    if (!owner_frees(owner))
        return -EINVAL;
    self = troupe__thread_enter(&error);
    if (self == NULL)
        return error;
    return place_free(self, block, &place, owner) ? 0 : -EINVAL;
}

size_t
troupe_usable_size(const void *block)
{
    struct place place;

    if (block == NULL || !block_find(block, &place) ||
        !owner_frees(troupe__load_acquire(place.owner)))
        return 0;
    return place.size;
}

/* Whether a block stays where it is: while at least half of it is in use, or no
 * smaller one would do. */
static bool
stays(const struct place *place, size_t size)
{
    return size <= place->size &&
           (size >= place->size / 2 ||
            (place->size_class < TROUPE__CLASSES &&
             troupe__class_of(size) == place->size_class));
}

void *
troupe_realloc(void *block, size_t size)
{
    struct troupe__thread *self;
    struct place place;
    uint32_t owner;
    void *copy;
    int error;

    if (block == NULL)
        return troupe_alloc(size);
    self = troupe__thread_enter(&error);
    if (self == NULL) {
        errno = -error;
        return NULL;
    }
    if (!block_find(block, &place)) {
        errno = EINVAL;
        return NULL;
    }
    owner = troupe__load_acquire(place.owner);
    if (!owner_frees(owner)) {
        errno = EINVAL;
        return NULL;
    }
    if (stays(&place, size))
        return block;
    if ((owner & TROUPE__OWNER_KIND) == TROUPE__OWNER_HELD)
        copy = troupe_scope_alloc(troupe__scope_of(owner), size);
    else
        copy = block_draft(self, size);
    if (copy == NULL)
        return NULL;
    memcpy(copy, block, size < place.size ? size : place.size);
    /* In this order: killed before, the old block is as it was, and after it
     * both are free, for the copy has been nobody's but ours. */
    (void)troupe__block_free(self, block, owner);
    return block_hand_out(self, copy);
}

static unsigned
count_members(const struct troupe__heap *heap)
{
    uint32_t high = troupe__load_acquire(&heap->members_high);
    unsigned count = 0;
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__MEMBERS; i++) {
        uint64_t state = troupe__load_relaxed(&troupe__member_at(i)->state);

        count += (state & 0xff) == TROUPE__MEMBER_ALIVE ||
                 (state & 0xff) == TROUPE__MEMBER_STARTING;
    }
    return count;
}

static unsigned
count_threads(const struct troupe__heap *heap)
{
    uint32_t high = troupe__load_acquire(&heap->slots_high);
    unsigned count = 0;
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++)
        if (troupe__token_alive(
                troupe__load_relaxed(troupe__slot_token(troupe__slot_at(i)))))
            count++;
    return count;
}

int
troupe_heap_info_get(troupe_heap_info *info)
{
    troupe_heap_info found;
    struct troupe__thread *self;
    const struct troupe__heap *heap;
    uint64_t used;
    uint64_t room;
    int error;

    if (!troupe__info_valid(info))
        return -EINVAL;
    self = troupe__thread_enter(&error);
    if (self == NULL)
        return error;
    (void)troupe__slots_recover();
    heap = troupe__family.heap;
    found.base = heap->base;
    found.window = heap->window;
    found.limit = heap->pages.limit_pages * TROUPE__PAGE;
    troupe__pages_count(self, &found.committed, &found.free_bytes);
    used = (uint64_t)troupe__load_relaxed(&heap->slots_high) * TROUPE__PAGE +
           (uint64_t)troupe__load_relaxed(&heap->members_high) *
               sizeof(struct troupe__member) +
           (uint64_t)troupe__load_relaxed(&heap->pages.described_pages) *
               sizeof(struct troupe__page) +
           sizeof(*heap) + found.committed - found.free_bytes;
    /* The system knows what has gone back to it. */
    found.committed = troupe__family_committed();
    if (found.committed == 0)
        found.committed = used + found.free_bytes;
    room = found.committed > used ? found.committed - used : 0;
    if (found.free_bytes > room)
        found.free_bytes = room;
    found.members = count_members(heap);
    found.threads = count_threads(heap);
    troupe__info_copy(info, &found, sizeof(found));
    return 0;
}
