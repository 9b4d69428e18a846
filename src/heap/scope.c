/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/scope.h"

#include "base/atomic.h"
#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/directory.h"

#include <troupe/scope.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ENTRIES 40u
#define MORE_ENTRIES  1000u

/*
 * A list of what the scope may hold. An entry counts while the block's owner
 * word names the scope; so entries need no care when a block is freed behind
 * the scope's back, and a death anywhere leaves a list that is right.
 */
struct more {
    uint64_t next; /* offset of another one, held by the scope */
    uint32_t entries[MORE_ENTRIES];
};

struct troupe_scope {
    struct troupe__object object;
    uint32_t member; /* number and generation of the process that owns it */
    uint32_t generation;
    uint64_t more; /* offset of the first struct more; one store sets it */
    /* For the owner alone: the page in use (0: the entries below), the next
     * entry to try in it, and how many pages, from this one on, are not yet
     * looked through for free entries. */
    uint64_t current;
    uint32_t next_entry;
    uint32_t left;
    uint32_t pages;    /* how many there are */
    uint32_t sweep_at; /* so many are not exceeded without a sweep */
    uint32_t fresh;    /* record of a struct more on its way in or out */
    uint32_t entries[FIRST_ENTRIES];
};

/* `self` is the calling process, as in struct troupe__place. */
static struct troupe_scope *
check_owner(const troupe_scope *scope, uint64_t self, int *ret_error)
{
    struct troupe_scope *s = NULL;

    if (scope != NULL)
        s = troupe__object_check(scope, TROUPE__KIND_SCOPE);
    if (s == NULL) {
        *ret_error = -EINVAL;
        return NULL;
    }
    if (((uint64_t)s->generation << 32 | s->member) != self) {
        *ret_error = -EXDEV;
        return NULL;
    }
    return s;
}

static struct troupe_scope *
check(const troupe_scope *scope, const struct troupe__thread *self,
      int *ret_error)
{
    return check_owner(
        scope, (uint64_t)self->slot->member_generation << 32 | self->member,
        ret_error);
}

struct troupe_scope *
troupe__scope_of(uint32_t owner)
{
    /* The process is asked, not the thread: this may be its first call. */
    const struct troupe__place *place = troupe__place_peek();
    uint64_t self = place == NULL ? 0 : troupe__load_acquire(&place->self);
    uint64_t offset = (uint64_t)(owner & TROUPE__OWNER_VALUE)
                      << TROUPE__UNIT_SHIFT;
    int error;

    return self == 0 ? NULL
                     : check_owner(troupe__family_at(offset), self, &error);
}

int
troupe_scope_new(troupe_scope **ret_scope)
{
    struct troupe__thread *self;
    struct troupe_scope *scope;
    int status;

    troupe__detail_clear();
    if (ret_scope == NULL)
        return -EINVAL;
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    scope = troupe__object_new(self, TROUPE__KIND_SCOPE, sizeof(*scope),
                               sizeof(*scope), NULL);
    if (scope == NULL)
        return -ENOMEM;
    scope->member = self->member;
    scope->generation = self->slot->member_generation;
    status = troupe__object_publish(self, scope);
    if (status < 0)
        return status;
    *ret_scope = scope;
    return 0;
}

/* Owner of the pages of entries: the second unit of the scope. Not the scope's
 * own, for an old entry, whose block was freed early, may name memory that has
 * become a page of this scope since, and would free it. */
static uint32_t
pages_owner(const struct troupe_scope *scope)
{
    _Static_assert(sizeof(*scope) >= 2u << TROUPE__UNIT_SHIFT, "two units");
    return troupe__owner_held(scope) + 1;
}

/* The page of entries at an offset; NULL at the end, and where a wild store has
 * put something else. */
static struct more *
more_at(uint64_t offset, uint32_t owner)
{
    struct more *more = offset == 0 ? NULL : troupe__family_at(offset);

    return more != NULL && troupe__block_owner(more) == owner &&
                   troupe__block_size(more) >= sizeof(*more)
               ? more
               : NULL;
}

static void
entries_free(struct troupe__thread *self, uint32_t *entries, uint32_t count,
             uint32_t owner)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        if (entries[i] == 0)
            continue;
        (void)troupe__block_free(self, troupe__block_at(entries[i]), owner);
        troupe__store_release(&entries[i], 0u);
    }
}

/* Frees everything, then the scope. May be repeated after a death inside. */
static void
scope_end(struct troupe__thread *self, struct troupe_scope *scope)
{
    uint32_t owner = troupe__owner_held(scope);
    uint32_t pages = pages_owner(scope);
    struct more *more;

    if (scope->fresh != 0 &&
        troupe__family_offset(troupe__block_at(scope->fresh)) != scope->more)
        (void)troupe__block_free(self, troupe__block_at(scope->fresh), pages);
    entries_free(self, scope->entries, FIRST_ENTRIES, owner);
    while ((more = more_at(scope->more, pages)) != NULL) {
        uint64_t next = more->next;

        entries_free(self, more->entries, MORE_ENTRIES, owner);
        /* Never in neither of the two. */
        troupe__store_release(&scope->fresh, troupe__block_record(more));
        troupe__store_release(&scope->more, next);
        (void)troupe__block_free(self, more, pages);
    }
    troupe__object_free(self, scope);
}

int
troupe_scope_free(troupe_scope *scope)
{
    struct troupe__thread *self;
    int error;

    if (scope == NULL)
        return 0;
    self = troupe__thread_enter(&error);
    if (self == NULL)
        return error;
    if (check(scope, self, &error) == NULL)
        return error;
    scope_end(self, scope);
    return 0;
}

static bool
is_free(uint32_t entry, uint32_t owner)
{
    return entry == 0 || troupe__block_owner(troupe__block_at(entry)) != owner;
}

/* Adds an entry to a set: a table with a power of two of places, half of them
 * free. False: it is there already. */
static bool
set_add(uint32_t *set, size_t places, uint32_t entry)
{
    size_t at = (entry * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (places - 1);

    while (set[at] != 0 && set[at] != entry)
        at = (at + 1) & (places - 1);
    if (set[at] == entry)
        return false;
    set[at] = entry;
    return true;
}

/*
 * Clears the entries of the list that do not count, and all but one of those
 * for the same block, which are left where a block was freed early and its
 * memory came back to the scope. Returns how many stay; all, when there is no
 * memory to find out. Killed inside: some blocks are named too often still, and
 * each that counts at least once.
 */
static size_t
entries_sweep(struct troupe_scope *scope, uint32_t pages)
{
    uint32_t owner = troupe__owner_held(scope);
    struct more *more = more_at(scope->more, pages_owner(scope));
    size_t total = (size_t)pages * MORE_ENTRIES;
    size_t places = 2;
    size_t stay = 0;
    uint32_t *set;
    uint32_t i;

    while (places < total * 2)
        places *= 2;
    set = calloc(places, sizeof(*set));
    if (set == NULL)
        return total;
    for (; more != NULL && pages != 0; pages--) {
        for (i = 0; i < MORE_ENTRIES; i++) {
            uint32_t entry = troupe__load_relaxed(&more->entries[i]);

            if (!is_free(entry, owner) && set_add(set, places, entry))
                stay++;
            else if (entry != 0)
                troupe__store_release(&more->entries[i], 0u);
        }
        more = more_at(more->next, pages_owner(scope));
    }
    free(set);
    return stay;
}

/* Goes on with pages of the list, `left` of them. */
static void
entries_from(struct troupe_scope *scope, uint64_t page, uint32_t left)
{
    scope->current = page;
    scope->next_entry = 0;
    scope->left = left;
}

/* The next free entry from where the last one was found; NULL: the pages that
 * were to be looked through are full. */
static uint32_t *
entry_next(struct troupe_scope *scope)
{
    uint32_t owner = troupe__owner_held(scope);

    for (;;) {
        struct more *more = more_at(scope->current, pages_owner(scope));
        uint32_t *entries = more != NULL ? more->entries : scope->entries;
        uint32_t count = more != NULL ? MORE_ENTRIES : FIRST_ENTRIES;
        uint32_t left = troupe__load_relaxed(&scope->left);
        uint32_t i = troupe__load_relaxed(&scope->next_entry);

        while (i < count && !is_free(entries[i], owner))
            i++;
        scope->next_entry = i + 1;
        if (i < count)
            return &entries[i];
        if (left <= 1 || more == NULL)
            return NULL;
        entries_from(scope, more->next, left - 1);
    }
}

/*
 * An entry for one more block; NULL: no memory for entries. When the list has
 * doubled it is swept first, and used again if half of it is free: so its size
 * follows what the scope holds at a time, not what it ever held, and a sweep
 * costs little for each of the blocks between two of them.
 */
static uint32_t *
entry_new(struct troupe__thread *self, struct troupe_scope *scope)
{
    uint32_t *entry = entry_next(scope);
    uint32_t pages = troupe__load_relaxed(&scope->pages);
    struct more *fresh;

    if (entry != NULL)
        return entry;
    if (pages != 0 && pages >= scope->sweep_at) {
        if (entries_sweep(scope, pages) <= (size_t)pages * MORE_ENTRIES / 2) {
            entries_from(scope, scope->more, pages);
            return entry_next(scope);
        }
        scope->sweep_at = pages * 2;
    }
    fresh = troupe__block_new(self, sizeof(*fresh), pages_owner(scope),
                              &scope->fresh);
    if (fresh == NULL)
        return NULL;
    memset(fresh, 0, sizeof(*fresh));
    fresh->next = scope->more;
    troupe__store_release(&scope->more, troupe__family_offset(fresh));
    troupe__store_release(&scope->fresh, 0u);
    scope->pages = pages + 1;
    entries_from(scope, scope->more, 1);
    return entry_next(scope);
}

void *
troupe_scope_alloc(troupe_scope *scope, size_t size)
{
    struct troupe__thread *self;
    uint32_t *entry;
    void *block = NULL;
    int error;

    self = troupe__thread_enter(&error);
    if (self == NULL || check(scope, self, &error) == NULL) {
        errno = -error;
        return NULL;
    }
    entry = entry_new(self, scope);
    if (entry != NULL)
        block = troupe__block_new(self, size, troupe__owner_held(scope), entry);
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

int
troupe_scope_give(troupe_scope *scope, void *block)
{
    struct troupe__thread *self;
    int error;

    self = troupe__thread_enter(&error);
    if (self == NULL)
        return error;
    if (check(scope, self, &error) == NULL)
        return error;
    /* The commit is the owner word; the entry stops counting by itself. */
    return troupe__block_pass(block, troupe__owner_held(scope),
                              troupe__owner_given(self))
               ? 0
               : -EINVAL;
}

struct dead {
    struct troupe__thread *self;
    uint32_t member;
    uint32_t generation;
};

static void
recover_one(void *object, void *context)
{
    const struct dead *dead = context;
    struct troupe_scope *scope = object;

    /* Looked at once more after what it says was read: a living owner may have
     * freed it in between, and then that was somebody else's memory. A dead
     * one's nobody frees but us. */
    if (troupe__peek_u32(&scope->member) == dead->member &&
        troupe__peek_u32(&scope->generation) == dead->generation &&
        troupe__object_check(scope, TROUPE__KIND_SCOPE) == object &&
        troupe__block_owner(scope) == TROUPE__OWNER_LIBRARY)
        scope_end(dead->self, scope);
}

void
troupe__scopes_recover(uint32_t member, uint32_t generation)
{
    struct dead dead = {troupe__thread_self, member, generation};

    troupe__directory_walk(TROUPE__KIND_SCOPE, recover_one, &dead);
}
