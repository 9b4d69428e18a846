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

/* Bins: one per length up to 32 pages, then one per power of two. */
static unsigned
bin_of(uint32_t length)
{
    return length <= 32 ? length - 1 : 27 + troupe__log2(length);
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

static bool
is_free(uint32_t page)
{
    return troupe__page_state(head_of(page)) == TROUPE__PAGE_FREE;
}

/* The link stands in the place of a block's owner word, and whoever had the
 * block may still look there whether it is its own: a link never looks like
 * that. */
static void
next_set(uint32_t page, uint32_t next)
{
    troupe__store_relaxed(&troupe__page_at(page)->u.link.next, next);
}

static void
bin_insert(struct troupe__heap *heap, uint32_t page, uint32_t length)
{
    unsigned bin = bin_of(length);
    struct troupe__page *p = troupe__page_at(page);
    uint32_t first = heap->pages.bins[bin];

    p->u.link.previous = 0;
    next_set(page, first);
    if (first != 0)
        troupe__page_at(first - 1)->u.link.previous = page + 1;
    heap->pages.bins[bin] = page + 1;
    heap->pages.bins_used |= UINT64_C(1) << bin;
    heap->pages.free_pages += length;
}

static void
bin_remove(struct troupe__heap *heap, uint32_t page, uint32_t length)
{
    unsigned bin = bin_of(length);
    struct troupe__page *p = troupe__page_at(page);

    if (p->u.link.previous != 0)
        next_set(p->u.link.previous - 1, p->u.link.next);
    else
        heap->pages.bins[bin] = p->u.link.next;
    if (p->u.link.next != 0)
        troupe__page_at(p->u.link.next - 1)->u.link.previous =
            p->u.link.previous;
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

/* Makes [page, page + length), no run of which is in a bin, a free run, merged
 * with its free neighbours. Words that end up inside a run are wiped, so that
 * none inside an allocated run ever looks like a head. */
static void
run_release(struct troupe__heap *heap, uint32_t page, uint32_t length)
{
    uint32_t next = page + length;
    uint32_t before;

    head_set(page, troupe__page_head(TROUPE__PAGE_FREE, length, 0));
    if (next < heap->pages.pages_end && is_free(next)) {
        uint32_t more = troupe__page_length(head_of(next));

        bin_remove(heap, next, more);
        length += more;
        head_set(page, troupe__page_head(TROUPE__PAGE_FREE, length, 0));
        head_set(next, 0);
    }
    before = free_before(page);
    if (before != TROUPE__NO_PAGE) {
        uint32_t more = page - before;

        bin_remove(heap, before, more);
        length += more;
        head_set(before, troupe__page_head(TROUPE__PAGE_FREE, length, 0));
        head_set(page, 0);
        if (page - 1 != before)
            head_set(page - 1, 0);
        page = before;
    }
    foot_set(page, length);
    bin_insert(heap, page, length);
}

/* After a death under the lock: everything derived is made anew. */
static void
rebuild(struct troupe__heap *heap)
{
    uint32_t end = heap->pages.pages_end;
    uint32_t page = 0;

    memset(heap->pages.bins, 0, sizeof(heap->pages.bins));
    heap->pages.bins_used = 0;
    heap->pages.free_pages = 0;
    while (page < end) {
        uint64_t head = head_of(page);
        uint32_t length = troupe__page_length(head);
        uint32_t i;

        if (length == 0 || length > end - page)
            break; /* damaged from here on: leave the rest alone */
        if (troupe__page_state(head) == TROUPE__PAGE_FREE) {
            while (page + length < end && is_free(page + length)) {
                uint32_t more = troupe__page_length(head_of(page + length));

                if (more == 0 || more > end - page - length)
                    break;
                length += more;
                head_set(page, troupe__page_head(TROUPE__PAGE_FREE, length, 0));
            }
            for (i = 1; i < length; i++)
                head_set(page + i, 0);
            foot_set(page, length);
            bin_insert(heap, page, length);
        } else if (troupe__page_state(head) == TROUPE__PAGE_LARGE &&
                   length > 1) {
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

static uint32_t
find_free(const struct troupe__heap *heap, uint32_t count)
{
    unsigned bin = bin_of(count);
    uint32_t entry = heap->pages.bins[bin];
    uint64_t larger;
    unsigned i;

    for (i = 0; entry != 0 && i < SEARCH_DEPTH; i++) {
        if (troupe__page_length(head_of(entry - 1)) >= count)
            return entry - 1;
        entry = troupe__page_at(entry - 1)->u.link.next;
    }
    larger = heap->pages.bins_used & ~((UINT64_C(2) << bin) - 1);
    if (larger == 0)
        return TROUPE__NO_PAGE;
    return heap->pages.bins[__builtin_ctzll(larger)] - 1;
}

/* Memory for the next `count` pages and their descriptors. */
static int
commit(struct troupe__heap *heap, uint32_t count)
{
    uint32_t end = heap->pages.pages_end + count;
    uint64_t offset = troupe__family.arena_offset +
                      (uint64_t)heap->pages.pages_end * TROUPE__PAGE;
    int status;

    if (end > heap->pages.described_pages) {
        uint64_t from =
            (uint64_t)heap->pages.described_pages * sizeof(struct troupe__page);
        uint64_t to = troupe__round_up(
            (uint64_t)end * sizeof(struct troupe__page), TROUPE__PAGE);

        status = troupe__family_commit(TROUPE__PAGES_OFFSET + from, to - from);
        if (status < 0)
            return status;
        heap->pages.described_pages =
            (uint32_t)(to / sizeof(struct troupe__page));
    }
    status = troupe__family_commit(offset, (uint64_t)count * TROUPE__PAGE);
    if (status < 0)
        troupe__family_discard(offset, (uint64_t)count * TROUPE__PAGE);
    return status;
}

/* Lengthens the sequence so that its last run is free and has `count` pages at
 * least. */
static int
grow(struct troupe__heap *heap, uint32_t count)
{
    uint32_t end = heap->pages.pages_end;
    uint32_t last = free_before(end);
    uint32_t have = last == TROUPE__NO_PAGE ? 0 : end - last;
    uint32_t need = count - have;
    uint32_t step = end / 8;
    uint64_t room = heap->pages.limit_pages;

    if (have >= count)
        return 0; /* it stood too deep in its bin to be found */

    if (room > troupe__family.arena_pages)
        room = troupe__family.arena_pages;
    room = room > end ? room - end : 0;
    if (need > room)
        return -ENOMEM;
    if (step < SMALLEST_STEP)
        step = SMALLEST_STEP;
    if (step > LARGEST_STEP)
        step = LARGEST_STEP;
    if (step < need)
        step = need;
    if (step > room)
        step = (uint32_t)room;
    if (commit(heap, step) < 0) {
        step = need;
        if (commit(heap, step) < 0)
            return -ENOMEM;
    }
    /* The new run stands, then the sequence reaches over it. */
    head_set(end, troupe__page_head(TROUPE__PAGE_FREE, step, 0));
    troupe__store_release(&heap->pages.pages_end, end + step);
    run_release(heap, end, step);
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

uint32_t
troupe__pages_new(struct troupe__thread *self, uint32_t count)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t page;
    uint32_t length;

    lock(self);
    page = find_free(heap, count);
    if (page == TROUPE__NO_PAGE) {
        if (grow(heap, count) < 0) {
            unlock(self);
            return TROUPE__NO_PAGE;
        }
        page = free_before(heap->pages.pages_end);
    }
    length = troupe__page_length(head_of(page));
    bin_remove(heap, page, length);
    if (length > count)
        head_set(page + count,
                 troupe__page_head(TROUPE__PAGE_FREE, length - count, 0));
    /* Killed up to here: the run is free and nobody's. After the commit it is
     * a block held by this thread, which run_page lets recovery find. */
    self->slot->run_page = page + 1;
    troupe__fence_crash();
    troupe__store_relaxed(&troupe__page_at(page)->u.owner,
                          troupe__owner_held(self->slot));
    head_set(page, troupe__page_head(TROUPE__PAGE_LARGE, count, 0));
    if (length > count) {
        foot_set(page + count, length - count);
        bin_insert(heap, page + count, length - count);
    } else if (count > 1) {
        head_set(page + count - 1, 0);
    }
    unlock(self);
    return page;
}

void
troupe__pages_free(struct troupe__thread *self, uint32_t page)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint64_t head;
    uint32_t length;

    lock(self);
    head = head_of(page);
    length = troupe__page_length(head);
    /* Looked at once more under the lock: recovery may come here twice. */
    if (troupe__page_state(head) == TROUPE__PAGE_LARGE && length != 0 &&
        length <= heap->pages.pages_end - page)
        run_release(heap, page, length);
    unlock(self);
}

void
troupe__pages_walk(struct troupe__thread *self,
                   void (*visit)(uint32_t page, uint64_t head, void *context),
                   void *context)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t page = 0;

    lock(self);
    while (page < heap->pages.pages_end) {
        uint64_t head = head_of(page);
        uint32_t length = troupe__page_length(head);

        if (length == 0 || length > heap->pages.pages_end - page)
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
