/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/directory.h"

#include "base/atomic.h"
#include "base/math.h"
#include "heap/alloc.h"
#include "heap/mutex.h"
#include "heap/pages.h"
#include "os/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KIND_SHIFT  56
#define BIRTH_SHIFT 40
#define OFFSET_MASK ((UINT64_C(1) << BIRTH_SHIFT) - 1)

void *
troupe__object_new(struct troupe__thread *self, enum troupe__kind kind,
                   size_t size, size_t cleared, const char *name)
{
    struct troupe__object *object;

    size = (size_t)troupe__round_up(size, 64);
    object = troupe__block_hold(self, size);
    if (object == NULL)
        return NULL;
    memset(object, 0, cleared);
    object->magic = TROUPE__OBJECT_MAGIC + (uint32_t)kind;
    object->kind = (uint32_t)kind;
    object->creator = self->tag;
    object->created_at = troupe__clock_now();
    if (name != NULL)
        (void)snprintf(object->name, sizeof(object->name), "%s", name);
    return object;
}

/* What stands in the directory for an object. */
static uint64_t
entry_value(const struct troupe__object *object)
{
    uint64_t birth =
        troupe__peek_u64((const uint64_t *)(const void *)&object->created_at);

    return (uint64_t)troupe__peek_u32(&object->kind) << KIND_SHIFT |
           (birth & 0xffff) << BIRTH_SHIFT | troupe__family_offset(object);
}

/* The object an entry names, if it counts: the object is alive and points back.
 * One that died with its maker before it was published leaves an entry that
 * does not. */
static struct troupe__object *
entry_object(const uint64_t *entry, enum troupe__kind kind)
{
    uint64_t value = troupe__load_acquire(entry);
    uint64_t offset = value & OFFSET_MASK;
    struct troupe__object *object;

    if (value == 0 ||
        (kind != TROUPE__KIND_NONE && value >> KIND_SHIFT != kind) ||
        (offset & 63) != 0 || troupe__page_of(offset) == TROUPE__NO_PAGE)
        return NULL;
    object = troupe__family_at(offset);
    if (troupe__block_owner(object) == 0 ||
        troupe__peek_u32(&object->magic) !=
            TROUPE__OBJECT_MAGIC + (uint32_t)(value >> KIND_SHIFT) ||
        troupe__peek_u64(&object->directory_entry) !=
            troupe__family_offset(entry) ||
        entry_value(object) != value)
        return NULL;
    return object;
}

/* The entry that an object points to; NULL when it points anywhere else. */
static uint64_t *
object_entry(const struct troupe__object *object)
{
    uint64_t offset = object->directory_entry;
    uint64_t root =
        troupe__family_offset(&troupe__family.heap->directory.entries);

    if ((offset & 7) != 0 ||
        (offset - root >= TROUPE__DIRECTORY_ENTRIES * sizeof(uint64_t) &&
         troupe__page_of(offset) == TROUPE__NO_PAGE))
        return NULL;
    return troupe__family_at(offset);
}

/* The page at an offset read from shared memory; NULL at the end, and where a
 * wild store has put something that is none. */
static struct troupe__directory_page *
page_at(uint64_t offset)
{
    struct troupe__directory_page *page;

    if (offset == 0 || troupe__page_of(offset) == TROUPE__NO_PAGE)
        return NULL;
    page = troupe__family_at(offset);
    return troupe__block_size(page) >= sizeof(*page) ? page : NULL;
}

bool
troupe__directory_has_page(const void *block)
{
    const struct troupe__directory_page *page = &troupe__family.heap->directory;
    uint64_t offset = troupe__family_offset(block);

    while (page != NULL) {
        uint64_t next = troupe__load_acquire(&page->next);

        if (next == offset)
            return true;
        page = page_at(next);
    }
    return false;
}

/* The page after this one, made if need be. NULL: no memory. */
static struct troupe__directory_page *
next_page(struct troupe__thread *self, struct troupe__directory_page *page)
{
    uint64_t next = troupe__load_acquire(&page->next);
    struct troupe__directory_page *fresh;

    if (next != 0)
        return page_at(next);
    fresh = troupe__block_hold(self, sizeof(*fresh));
    if (fresh == NULL)
        return NULL;
    memset(fresh, 0, sizeof(*fresh));
    if (!troupe__cas_seq_cst(&page->next, &next,
                             troupe__family_offset(fresh))) {
        (void)troupe__block_free(self, fresh, troupe__owner_held(self->slot));
        return page_at(next);
    }
    /* Killed before this: recovery asks troupe__directory_has_page() and keeps
     * the page. */
    (void)troupe__block_pass(fresh, troupe__owner_held(self->slot),
                             TROUPE__OWNER_LIBRARY);
    return fresh;
}

int
troupe__object_publish(struct troupe__thread *self, void *address)
{
    struct troupe__object *object = address;
    struct troupe__directory_page *page = &troupe__family.heap->directory;
    uint64_t value = entry_value(object);
    uint32_t mine = troupe__owner_held(self->slot);

    (void)troupe__fetch_or_seq_cst(&troupe__family.heap->directory_kinds,
                                   UINT64_C(1) << object->kind);
    for (; page != NULL; page = next_page(self, page)) {
        uint32_t i;

        for (i = 0; i < TROUPE__DIRECTORY_ENTRIES; i++) {
            uint64_t *entry = &page->entries[i];
            uint64_t found = troupe__load_relaxed(entry);

            if (found != 0 && entry_object(entry, TROUPE__KIND_NONE) != NULL)
                continue;
            object->directory_entry = troupe__family_offset(entry);
            if (!troupe__cas_seq_cst(entry, &found, value))
                continue;
            /* The commit: it does not die with this thread any more. */
            (void)troupe__block_pass(object, mine, TROUPE__OWNER_LIBRARY);
            return 0;
        }
    }
    object->magic = 0;
    (void)troupe__block_free(self, object, mine);
    return -ENOMEM;
}

bool
troupe__directory_lock(struct troupe__thread *self)
{
    struct troupe__mutex *lock = &troupe__family.heap->directory_lock;

    /* Taken over from a dead thread there is nothing to repair: what it was
     * freeing is in its list. */
    return troupe__mutex_acquire(
               self, lock, troupe_after_ns(TROUPE__LOCK_BOUND), NULL) >= 0;
}

void
troupe__directory_unlock(struct troupe__thread *self)
{
    troupe__mutex_release(self, &troupe__family.heap->directory_lock);
}

bool
troupe__directory_locked(const struct troupe__thread *self)
{
    uint64_t word =
        troupe__load_relaxed(&troupe__family.heap->directory_lock.word);

    return (word & ~TROUPE__WAITERS) == self->tag;
}

bool
troupe__object_claim(struct troupe__thread *self, void *object)
{
    uint32_t mine = troupe__owner_held(self->slot);
    uint32_t *held = troupe__block_held_entry(self, object);
    uint32_t owner = troupe__block_owner(object);

    /* What another thread has claimed is its own to free, or its recovery's;
     * and memory in any other hands is no object any more. */
    if (owner != TROUPE__OWNER_LIBRARY && owner != mine)
        return false;
    /* Without room in the list a death before the end leaks the block. */
    if (held != NULL)
        troupe__store_release(held, troupe__block_record(object));
    return troupe__block_pass(object, owner, mine);
}

void
troupe__object_detach(struct troupe__object *object)
{
    uint64_t *entry = object_entry(object);
    uint64_t value = entry_value(object);

    /* The magic first: an entry without it does not count, and the next to
     * publish may have taken it by now. */
    object->magic =
        TROUPE__OBJECT_MAGIC + TROUPE__OBJECT_DETACHED + object->kind;
    if (entry != NULL)
        (void)troupe__cas_release(entry, &value, UINT64_C(0));
}

bool
troupe__object_held(const void *block, enum troupe__kind kind)
{
    uint32_t magic = TROUPE__OBJECT_MAGIC + (uint32_t)kind;
    const struct troupe__object *object = block;

    return (troupe__family_offset(block) & 63) == 0 &&
           (object->magic & ~TROUPE__OBJECT_DETACHED) == magic;
}

void
troupe__object_free(struct troupe__thread *self, void *address)
{
    struct troupe__object *object = address;

    if (!troupe__object_claim(self, object))
        return;
    troupe__object_detach(object);
    object->magic = 0;
    (void)troupe__block_free(self, object, troupe__owner_held(self->slot));
}

void *
troupe__object_check(const void *address, enum troupe__kind kind)
{
    struct troupe__object *object;
    uint64_t offset;

    if (troupe__load_acquire(&troupe__family.heap) == NULL)
        return NULL;
    offset = troupe__family_offset(address);
    if ((offset & 63) != 0 || troupe__page_of(offset) == TROUPE__NO_PAGE)
        return NULL;
    object = troupe__family_at(offset);
    return troupe__peek_u32(&object->magic) ==
                   TROUPE__OBJECT_MAGIC + (uint32_t)kind
               ? object
               : NULL;
}

void
troupe__directory_walk(enum troupe__kind kind,
                       void (*visit)(void *object, void *context),
                       void *context)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__directory_page *page = &heap->directory;

    if (kind != TROUPE__KIND_NONE &&
        (troupe__load_seq_cst(&heap->directory_kinds) & UINT64_C(1) << kind) ==
            0)
        return;
    for (; page != NULL; page = page_at(troupe__load_acquire(&page->next))) {
        uint32_t i;

        for (i = 0; i < TROUPE__DIRECTORY_ENTRIES; i++) {
            struct troupe__object *object =
                entry_object(&page->entries[i], kind);

            if (object != NULL)
                visit(object, context);
        }
    }
}
