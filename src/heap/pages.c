/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/pages.h"

#include "base/math.h"
#include "heap/alloc.h"
#include "heap/mutex.h"

#include <errno.h>
#include <string.h>

/* The arena grows in steps of an eighth of itself between these bounds, so
 * that an idle family takes little and a busy one rarely asks the system. */
#define SMALLEST_STEP 16u
#define LARGEST_STEP  512u

/* Runs looked at in the bin where only some are long enough. */
#define SEARCH_DEPTH 32u

/* Memory goes back to the system when more is free than is in use, and more
 * than troupe__heap.pages.keep_pages. Asking how much there is takes a system
 * call, so it is done when so many pages have been freed; shorter runs than the
 * second are not worth giving back. */
#define TRIM_EVERY 4096u
#define TRIM_RUN   256u

/* Runs looked at in each bin for one that has memory. */
#define FILLED_DEPTH 1024u

/* Bins: one per length up to 32 pages, then one per power of two. */
static unsigned
bin_of(uint32_t length)
{
    return length <= 32 ? length - 1 : 27 + troupe__log2(length);
}

static uint64_t
offset_of(uint32_t page)
{
    return troupe__family.arena_offset + (uint64_t)page * TROUPE__PAGE;
}

static uint64_t
head_of(uint32_t page)
{
    return troupe__load_relaxed(&troupe__page_at(page)->head);
}

/* release: the commit; what the new sequence needs was stored before. */
static void
head_set(uint32_t page, uint64_t head)
{
    troupe__store_release(&troupe__page_at(page)->head, head);
}

static void
free_set(uint32_t page, uint32_t length, bool hollow)
{
    head_set(page, troupe__page_head(TROUPE__PAGE_FREE, length,
                                     hollow ? TROUPE__PAGE_HOLLOW : 0));
}

static bool
is_hollow(uint32_t page)
{
    return troupe__page_is_hollow(head_of(page));
}

static bool
is_free(uint32_t page)
{
    return troupe__page_state(head_of(page)) == TROUPE__PAGE_FREE;
}

/* Pages in the sequence; 0 when a wild store has put there what would lead to
 * where no memory is. */
static uint32_t
sequence_end(const struct troupe__heap *heap)
{
    /* acquire: the pages were described before. Looked at without the lock,
     * too, by who follows a link between slabs. */
    uint32_t end = troupe__load_acquire(&heap->pages.pages_end);

    return end <= troupe__load_relaxed(&heap->pages.described_pages) &&
                   end <= troupe__family.arena_pages
               ? end
               : 0;
}

/* Whether a free run of so many pages begins there. */
static bool
is_run(const struct troupe__heap *heap, uint32_t page, uint32_t count)
{
    uint32_t end = sequence_end(heap);

    return page < end && is_free(page) &&
           troupe__page_length(head_of(page)) >= count &&
           troupe__page_length(head_of(page)) <= end - page;
}

struct troupe__page *
troupe__page_linked(uint32_t number, enum troupe__page_state state)
{
    static __thread struct troupe__page nowhere;

    return number - 1 < sequence_end(troupe__family.heap) &&
                   troupe__page_state(head_of(number - 1)) == state
               ? troupe__page_at(number - 1)
               : &nowhere;
}

/* The link stands in the place of a block's owner word, and whoever had the
 * block may still look there whether it is its own: a link never looks like
 * that. */
static void
next_set(struct troupe__page *page, uint32_t next)
{
    troupe__store_relaxed(&page->u.link.next, next);
}

static void
bin_insert(struct troupe__heap *heap, uint32_t page, uint32_t length)
{
    unsigned bin = bin_of(length);
    struct troupe__page *p = troupe__page_at(page);
    uint32_t first = heap->pages.bins[bin];

    p->u.link.previous = 0;
    next_set(p, first);
    if (first != 0)
        troupe__page_linked(first, TROUPE__PAGE_FREE)->u.link.previous =
            page + 1;
    heap->pages.bins[bin] = page + 1;
    heap->pages.bins_used |= UINT64_C(1) << bin;
    heap->pages.free_pages += length;
}

static void
bin_remove(struct troupe__heap *heap, uint32_t page, uint32_t length)
{
    unsigned bin = bin_of(length);
    struct troupe__page *p = troupe__page_at(page);

    if (heap->pages.bins[bin] != page + 1)
        next_set(troupe__page_linked(p->u.link.previous, TROUPE__PAGE_FREE),
                 p->u.link.next);
    else
        heap->pages.bins[bin] = p->u.link.next;
    if (p->u.link.next != 0)
        troupe__page_linked(p->u.link.next, TROUPE__PAGE_FREE)
            ->u.link.previous = p->u.link.previous;
    if (heap->pages.bins[bin] == 0)
        heap->pages.bins_used &= ~(UINT64_C(1) << bin);
    heap->pages.free_pages -= length;
}

/* Last page of a free run points back, so that the run after it can find it. */
static void
foot_set(uint32_t page, uint32_t length)
{
    if (length > 1)
        head_set(page + length - 1,
                 troupe__page_head(TROUPE__PAGE_FOOT, page, 0));
}

/* The free run that ends right before `page`, or TROUPE__NO_PAGE. */
static uint32_t
free_before(uint32_t page)
{
    uint64_t head;
    uint32_t first;

    if (page == 0)
        return TROUPE__NO_PAGE;
    head = head_of(page - 1);
    first = page - 1;
    if (troupe__page_state(head) == TROUPE__PAGE_FOOT)
        first = troupe__page_length(head);
    if (first >= page || !is_free(first) ||
        first + troupe__page_length(head_of(first)) != page)
        return TROUPE__NO_PAGE;
    return first;
}

/* Free runs beside each other of which one is hollow and one is not stay two:
 * what has memory is to be found again, and hollow is the whole of a run. How
 * much such neighbours would make together is not known yet. */
static void
seam_note(struct troupe__heap *heap)
{
    heap->pages.seamed = UINT32_MAX;
}

/* Makes [page, page + length), no run of which is in a bin, a free run, merged
 * with its free neighbours that are hollow if it is; returns its first page.
 * Words that end up inside a run are wiped, so that none inside an allocated
 * run ever looks like a head. */
static uint32_t
run_release(struct troupe__heap *heap, uint32_t page, uint32_t length,
            bool hollow)
{
    uint32_t next = page + length;
    uint32_t before;

    if (heap->pages.seamed != 0)
        seam_note(heap); /* what lies at a seam may grow */
    free_set(page, length, hollow);
    if (is_run(heap, next, 1) && is_hollow(next) != hollow) {
        seam_note(heap);
    } else if (is_run(heap, next, 1)) {
        uint32_t more = troupe__page_length(head_of(next));

        bin_remove(heap, next, more);
        length += more;
        free_set(page, length, hollow);
        head_set(next, 0);
    }
    before = free_before(page);
    if (before != TROUPE__NO_PAGE && is_hollow(before) != hollow) {
        seam_note(heap);
    } else if (before != TROUPE__NO_PAGE) {
        uint32_t more = page - before;

        bin_remove(heap, before, more);
        length += more;
        free_set(before, length, hollow);
        head_set(page, 0);
        if (page - 1 != before)
            head_set(page - 1, 0);
        page = before;
    }
    foot_set(page, length);
    bin_insert(heap, page, length);
    return page;
}

/* After a death under the lock: everything derived is made anew. */
static void
rebuild(struct troupe__heap *heap)
{
    uint32_t end = sequence_end(heap);
    uint32_t page = 0;

    memset(heap->pages.bins, 0, sizeof(heap->pages.bins));
    heap->pages.bins_used = 0;
    heap->pages.free_pages = 0;
    seam_note(heap);
    while (page < end) {
        uint64_t head = head_of(page);
        uint32_t length = troupe__page_length(head);
        bool hollow = troupe__page_is_hollow(head);
        uint32_t i;

        if (length == 0 || length > end - page)
            break; /* damaged from here on: leave the rest alone */
        if (troupe__page_state(head) == TROUPE__PAGE_FREE) {
            while (is_run(heap, page + length, 1) &&
                   is_hollow(page + length) == hollow) {
                length += troupe__page_length(head_of(page + length));
                free_set(page, length, hollow);
            }
            for (i = 1; i < length; i++)
                head_set(page + i, 0);
            foot_set(page, length);
            bin_insert(heap, page, length);
        } else if (troupe__page_state(head) == TROUPE__PAGE_LARGE &&
                   troupe__page_state(head_of(page + length - 1)) ==
                       TROUPE__PAGE_FOOT) {
            /* Left by who died taking it. Else the word is none of ours: the
             * run's holder may be making a slab of it at this moment. */
            head_set(page + length - 1, 0);
        }
        page += length;
    }
}

static void
lock(struct troupe__thread *self)
{
    struct troupe__heap *heap = troupe__family.heap;

    if (troupe__mutex_acquire(self, &heap->pages.lock, TROUPE_FOREVER, NULL) ==
        1)
        rebuild(heap);
}

static void
unlock(struct troupe__thread *self)
{
    troupe__mutex_release(self, &troupe__family.heap->pages.lock);
}

/* What the bins name as a free run of so many pages; after a wild store that
 * may be anything. */
static uint32_t
bins_find(const struct troupe__heap *heap, uint32_t count)
{
    unsigned bin = bin_of(count);
    uint32_t entry = heap->pages.bins[bin];
    uint64_t larger;
    unsigned i;

    for (i = 0; entry != 0 && i < SEARCH_DEPTH; i++) {
        if (is_run(heap, entry - 1, count) || !is_run(heap, entry - 1, 1))
            return entry - 1;
        entry = troupe__page_at(entry - 1)->u.link.next;
    }
    larger = heap->pages.bins_used & ~((UINT64_C(2) << bin) - 1);
    if (larger == 0)
        return TROUPE__NO_PAGE;
    entry = heap->pages.bins[__builtin_ctzll(larger)];
    return entry != 0 ? entry - 1 : sequence_end(heap); /* where no run is */
}

static uint32_t
find_free(struct troupe__heap *heap, uint32_t count)
{
    uint32_t page = bins_find(heap, count);

    if (page == TROUPE__NO_PAGE || is_run(heap, page, count))
        return page;
    /* A wild store has been in the bins. */
    rebuild(heap);
    page = bins_find(heap, count);
    return page != TROUPE__NO_PAGE && is_run(heap, page, count)
               ? page
               : TROUPE__NO_PAGE;
}

/* Makes one hollow free run of `count` pages of several beside each other; what
 * the last of them has beyond that stays as it is. */
static void
runs_join(struct troupe__heap *heap, uint32_t first, uint32_t count)
{
    uint32_t page = first;
    uint32_t rest = 0;
    uint32_t length = troupe__page_length(head_of(first));
    bool hollow = true;

    while (page < first + count) {
        bin_remove(heap, page, troupe__page_length(head_of(page)));
        hollow = is_hollow(page);
        page += troupe__page_length(head_of(page));
    }
    rest = page - first - count;
    if (rest != 0)
        free_set(first + count, rest, hollow);
    /* The commit; killed before or after it, who takes the lock makes the rest
     * anew. */
    free_set(first, count, true);
    for (page = first + length; page < first + count; page += length) {
        length = troupe__page_length(head_of(page));
        if (page - 1 != first)
            head_set(page - 1, 0);
        head_set(page, 0);
    }
    foot_set(first, count);
    bin_insert(heap, first, count);
    if (rest != 0) {
        foot_set(first + count, rest);
        bin_insert(heap, first + count, rest);
    }
}

/* A free run of `count` pages made of several, or TROUPE__NO_PAGE. */
static uint32_t
find_seamed(struct troupe__heap *heap, uint32_t count)
{
    uint32_t end = sequence_end(heap);
    uint32_t page = 0;
    uint32_t first = 0;
    uint32_t most = 0;
    bool seams = false;

    if (heap->pages.seamed < count)
        return TROUPE__NO_PAGE;
    while (page < end) {
        uint32_t length = troupe__page_length(head_of(page));

        if (length == 0 || length > end - page)
            break;
        page += length;
        if (!is_free(page - length)) {
            first = page;
            continue;
        }
        seams = seams || page - first > length;
        if (page - first >= count) {
            runs_join(heap, first, count);
            return first;
        }
        if (page - first > most)
            most = page - first;
    }
    heap->pages.seamed = seams ? most : 0;
    return TROUPE__NO_PAGE;
}

/* Memory for the descriptors of the next `count` pages, and for the pages; of a
 * hollow run for the last one alone, so that the file reaches over all. */
static int
commit(struct troupe__heap *heap, uint32_t count, bool hollow)
{
    uint32_t end = heap->pages.pages_end + count;
    uint32_t first = hollow ? end - 1 : heap->pages.pages_end;
    uint64_t size = (uint64_t)(end - first) * TROUPE__PAGE;
    int status;

    if (end > heap->pages.described_pages) {
        uint64_t from =
            (uint64_t)heap->pages.described_pages * sizeof(struct troupe__page);
        uint64_t to = troupe__round_up(
            (uint64_t)end * sizeof(struct troupe__page), TROUPE__PAGE);

        status = troupe__family_commit(TROUPE__PAGES_OFFSET + from, to - from);
        if (status < 0)
            return status;
        troupe__store_relaxed(&heap->pages.described_pages,
                              (uint32_t)(to / sizeof(struct troupe__page)));
    }
    status = troupe__family_commit(offset_of(first), size);
    if (status < 0)
        troupe__family_discard(offset_of(first), size);
    return status;
}

/* Lengthens the sequence so that free runs at its end have `count` pages at
 * least. What is longer than a step is added hollow: the memory for it may take
 * the system seconds, for which nobody else should wait. */
static int
grow(struct troupe__heap *heap, uint32_t count)
{
    uint32_t end = sequence_end(heap);
    uint32_t last = free_before(end);
    uint32_t have = last == TROUPE__NO_PAGE ? 0 : end - last;
    uint32_t need = count - have;
    uint32_t step = end / 8;
    uint64_t room = heap->pages.limit_pages;
    bool hollow = need > LARGEST_STEP;

    if (have >= count)
        return 0; /* it stood too deep in its bin to be found */

    if (room > troupe__family.arena_pages)
        room = troupe__family.arena_pages;
    room = room > end ? room - end : 0;
    if (need > room || end != heap->pages.pages_end)
        return -ENOMEM;
    if (step < SMALLEST_STEP)
        step = SMALLEST_STEP;
    if (step > LARGEST_STEP)
        step = LARGEST_STEP;
    if (step < need)
        step = need;
    if (step > room)
        step = (uint32_t)room;
    if (commit(heap, step, hollow) < 0) {
        step = need;
        if (commit(heap, step, hollow) < 0)
            return -ENOMEM;
    }
    /* The new run stands, then the sequence reaches over it. */
    free_set(end, step, hollow);
    troupe__store_release(&heap->pages.pages_end, end + step);
    (void)run_release(heap, end, step, hollow);
    return 0;
}

uint32_t
troupe__page_of(uint64_t offset)
{
    const struct troupe__heap *heap = troupe__family.heap;
    uint64_t page;

    if (offset < troupe__family.arena_offset)
        return TROUPE__NO_PAGE;
    page = (offset - troupe__family.arena_offset) / TROUPE__PAGE;
    return page < troupe__family.arena_pages &&
                   page < troupe__load_acquire(&heap->pages.pages_end)
               ? (uint32_t)page
               : TROUPE__NO_PAGE;
}

/* Makes the first `count` pages of a free run, `length` long, a block held by
 * the calling thread. Hollow it stays; the caller sees to that. */
static void
run_take(struct troupe__thread *self, struct troupe__heap *heap, uint32_t page,
         uint32_t length, uint32_t count)
{
    bool hollow = troupe__page_is_hollow(head_of(page));

    bin_remove(heap, page, length);
    if (length > count)
        free_set(page + count, length - count, hollow);
    /* Killed up to here: the run is free and nobody's. After the commit it is
     * a block held by this thread, which run_page lets recovery find. */
    self->slot->run_page = page + 1;
    troupe__fence_crash();
    troupe__store_relaxed(&troupe__page_at(page)->u.owner,
                          troupe__owner_held(self->slot));
    head_set(page, troupe__page_head(TROUPE__PAGE_LARGE, count,
                                     hollow ? TROUPE__PAGE_HOLLOW : 0));
    if (length > count) {
        foot_set(page + count, length - count);
        bin_insert(heap, page + count, length - count);
    } else if (count > 1) {
        head_set(page + count - 1, 0);
    }
}

/* A free run of so many pages that has memory; TROUPE__NO_PAGE: none is
 * found. */
static uint32_t
find_filled(const struct troupe__heap *heap, uint32_t count)
{
    uint64_t used =
        heap->pages.bins_used & ~((UINT64_C(1) << bin_of(count)) - 1);

    for (; used != 0; used &= used - 1) {
        uint32_t entry = heap->pages.bins[__builtin_ctzll(used)];
        unsigned i;

        for (i = 0; i < FILLED_DEPTH && entry != 0; i++) {
            if (!is_run(heap, entry - 1, 1))
                break; /* a wild store */
            if (is_run(heap, entry - 1, count) && !is_hollow(entry - 1))
                return entry - 1;
            entry = troupe__page_at(entry - 1)->u.link.next;
        }
    }
    return TROUPE__NO_PAGE;
}

/* A free run of so many pages, hollow or not, made if need be. */
static uint32_t
run_get(struct troupe__heap *heap, uint32_t count)
{
    uint32_t page = find_free(heap, count);

    if (page == TROUPE__NO_PAGE)
        page = find_seamed(heap, count);
    if (page != TROUPE__NO_PAGE)
        return page;
    if (grow(heap, count) == 0)
        page = free_before(sequence_end(heap));
    if (page != TROUPE__NO_PAGE && !is_run(heap, page, count))
        page = find_seamed(heap, count);
    return page;
}

/* Takes memory for a hollow run that the calling thread holds. */
static bool
run_fill(uint32_t page, uint32_t count)
{
    uint64_t size = (uint64_t)count * TROUPE__PAGE;

    if (troupe__family_commit(offset_of(page), size) < 0) {
        troupe__family_discard(offset_of(page), size);
        return false;
    }
    head_set(page, troupe__page_head(TROUPE__PAGE_LARGE, count, 0));
    return true;
}

uint32_t
troupe__pages_new(struct troupe__thread *self, uint32_t count)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t page;

    lock(self);
    page = run_get(heap, count);
    if (page != TROUPE__NO_PAGE)
        run_take(self, heap, page, troupe__page_length(head_of(page)), count);
    unlock(self);
    if (page == TROUPE__NO_PAGE || !is_hollow(page) || run_fill(page, count))
        return page;
    troupe__pages_free(self, page);
    /* The system has no more; what is free here may still have its memory. */
    lock(self);
    page = find_filled(heap, count);
    if (page != TROUPE__NO_PAGE)
        run_take(self, heap, page, troupe__page_length(head_of(page)), count);
    unlock(self);
    return page;
}

/* Whether there is more memory than the family is likely to need soon. */
static bool
is_too_much(const struct troupe__heap *heap)
{
    uint64_t free = heap->pages.free_pages;
    uint64_t used = sequence_end(heap) - free;
    uint64_t keep =
        used > heap->pages.keep_pages ? used : heap->pages.keep_pages;

    /* Of what is free a part may be hollow. */
    return free > keep &&
           troupe__family_committed() / TROUPE__PAGE > used + keep;
}

/* A free run whose memory should go back: the one that was freed just now, or
 * one that is not hollow. */
static uint32_t
find_spare(const struct troupe__heap *heap, uint32_t freed)
{
    return is_run(heap, freed, TRIM_RUN) ? freed : find_filled(heap, TRIM_RUN);
}

/*
 * Gives memory back, run by run. While the system works no lock is held, and
 * the run is a block held by this thread, and hollow. Killed there, recovery
 * frees it as that, whether it was given back or not.
 */
static void
trim(struct troupe__thread *self, uint32_t freed)
{
    struct troupe__heap *heap = troupe__family.heap;

    /* Under another lock it is put off to when that is free, or to whoever
     * frees next. */
    if (self->locks != 0 ||
        troupe__load_relaxed(&heap->pages.released) < TRIM_EVERY)
        return;
    lock(self);
    while (heap->pages.released >= TRIM_EVERY) {
        uint32_t page =
            is_too_much(heap) ? find_spare(heap, freed) : TROUPE__NO_PAGE;
        uint32_t length;

        if (page == TROUPE__NO_PAGE) {
            troupe__store_relaxed(&heap->pages.released, 0u);
            break;
        }
        freed = TROUPE__NO_PAGE;
        length = troupe__page_length(head_of(page));
        free_set(page, length, true);
        run_take(self, heap, page, length, length);
        unlock(self);
        troupe__family_discard(offset_of(page),
                               (uint64_t)length * TROUPE__PAGE);
        lock(self);
        (void)run_release(heap, page, length, true);
    }
    unlock(self);
    self->slot->run_page = 0;
}

void
troupe__pages_trim(struct troupe__thread *self)
{
    trim(self, TROUPE__NO_PAGE);
}

void
troupe__pages_free(struct troupe__thread *self, uint32_t page)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint64_t head;
    uint32_t length;
    uint32_t end;

    lock(self);
    head = head_of(page);
    length = troupe__page_length(head);
    end = sequence_end(heap);
    /* Looked at once more under the lock: recovery may come here twice. */
    if (troupe__page_state(head) == TROUPE__PAGE_LARGE && length != 0 &&
        page < end && length <= end - page) {
        page = run_release(heap, page, length, troupe__page_is_hollow(head));
        troupe__store_relaxed(&heap->pages.released,
                              heap->pages.released + length);
    }
    unlock(self);
    self->slot->run_page = 0;
    trim(self, page);
}

void
troupe__pages_walk(struct troupe__thread *self,
                   void (*visit)(uint32_t page, uint64_t head, void *context),
                   void *context)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t page = 0;
    uint32_t end;

    lock(self);
    end = sequence_end(heap);
    while (page < end) {
        uint64_t head = head_of(page);
        uint32_t length = troupe__page_length(head);

        if (length == 0 || length > end - page)
            break;
        visit(page, head, context);
        page += length;
    }
    unlock(self);
}

void
troupe__pages_count(struct troupe__thread *self, uint64_t *ret_committed,
                    uint64_t *ret_free)
{
    struct troupe__heap *heap = troupe__family.heap;

    lock(self);
    *ret_committed = (uint64_t)heap->pages.pages_end * TROUPE__PAGE;
    *ret_free = (uint64_t)heap->pages.free_pages * TROUPE__PAGE;
    unlock(self);
}
