/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/family.h"

#include "base/atomic.h"
#include "base/math.h"
#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/member.h"
#include "heap/options.h"
#include "heap/slot.h"
#include "os/cancel.h"
#include "os/clock.h"
#include "os/task.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_WINDOW (UINT64_C(64) << 30)
#define MINIMAL_WINDOW (UINT64_C(64) << 20)
#define KEEP_FREE      (UINT64_C(128) << 20)

/* Ranges of addresses that are free in ordinary programs; the heap begins
 * somewhere in the first that the system accepts. ThreadSanitizer takes only
 * its own low one, which also fits 39-bit address spaces; MemorySanitizer the
 * last. */
static const struct {
    uint64_t first;
    uint64_t last;
    bool thread_sanitizer;
} ranges[] = {
    {UINT64_C(0x200000000000), UINT64_C(0x500000000000), false},
    {UINT64_C(0x2000000000), UINT64_C(0x4000000000), true},
    {UINT64_C(0x7c0000000000), UINT64_C(0x7d0000000000), false},
};

/* Present in programs under ThreadSanitizer, which ends one that maps what is
 * not in its ranges. */
extern void __tsan_init(void) __attribute__((weak));

#define TRIES_PER_RANGE 16u
#define ALIGNMENT       (UINT64_C(2) << 20)

struct troupe__family troupe__family;

static struct troupe__place *place;

static struct troupe__thread nobody;
__thread struct troupe__thread *troupe__thread_self = &nobody;

/* Serializes the heap's creation in this process; held over a fork so that the
 * child finds it free. */
static pthread_mutex_t creation = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void
before_fork(void)
{
    (void)pthread_mutex_lock(&creation);
}

static void
after_fork(void)
{
    (void)pthread_mutex_unlock(&creation);
}

/* A thread ends. */
static void
thread_ended(void *page)
{
    struct troupe__thread *self = page;

    if (self->tag != 0)
        troupe__slot_leave(self);
    troupe__thread_self = &nobody;
    (void)munmap(page, TROUPE__PAGE);
}

static void
process_init(void)
{
    once_error = pthread_key_create(&thread_key, thread_ended);
    if (once_error == 0)
        once_error = pthread_atfork(before_fork, after_fork, after_fork);
}

struct troupe__place *
troupe__place_peek(void)
{
    return troupe__load_acquire(&place);
}

struct troupe__place *
troupe__place_get(void)
{
    struct troupe__place *found = troupe__load_acquire(&place);
    struct troupe__place *page;

    if (found != NULL)
        return found;
    page = troupe__memory_wiped_page();
    if (page == NULL)
        return NULL;
    if (troupe__cas_seq_cst(&place, &found, page))
        return page;
    (void)munmap(page, TROUPE__PAGE);
    return found;
}

uint64_t
troupe__family_namespace(void)
{
    struct troupe__place *here = troupe__place_get();
    uint64_t name_space;

    if (here == NULL)
        return troupe__task_namespace();
    name_space = troupe__load_relaxed(&here->name_space);
    if (name_space == 0) {
        name_space = troupe__task_namespace();
        troupe__store_relaxed(&here->name_space, name_space);
    }
    return name_space;
}

int32_t
troupe__family_pid(void)
{
    struct troupe__place *here = troupe__place_get();
    int32_t pid;

    if (here == NULL)
        return troupe__task_pid();
    pid = troupe__load_relaxed(&here->pid);
    if (pid == 0) {
        pid = troupe__task_pid();
        troupe__store_relaxed(&here->pid, pid);
    }
    return pid;
}

uint64_t
troupe__family_moment(void)
{
    struct troupe__place *here = troupe__place_get();
    uint64_t moment;

    if (here == NULL)
        return troupe__task_moment();
    moment = troupe__load_relaxed(&here->moment);
    if (moment == 0) {
        moment = troupe__task_moment();
        troupe__store_relaxed(&here->moment, moment);
    }
    return moment;
}

/* Which word of a robust mutex the kernel marks: lock one and look for our
 * number. */
static int
find_token_word(uint32_t *ret_offset)
{
    union {
        pthread_mutex_t mutex;
        uint32_t words[sizeof(pthread_mutex_t) / sizeof(uint32_t)];
    } probe;

    pthread_mutexattr_t attributes;
    uint32_t tid = (uint32_t)troupe__task_tid();
    unsigned i;
    int status = -ENOTSUP;

    memset(&probe, 0, sizeof(probe));
    if (pthread_mutexattr_init(&attributes) != 0)
        return -ENOMEM;
    (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
        pthread_mutex_init(&probe.mutex, &attributes) == 0) {
        (void)pthread_mutex_lock(&probe.mutex);
        for (i = 0; i < TROUPE__COUNT(probe.words) && status < 0; i++) {
            if ((probe.words[i] & FUTEX_TID_MASK) == tid) {
                *ret_offset = i * (uint32_t)sizeof(uint32_t);
                status = 0;
            }
        }
        (void)pthread_mutex_unlock(&probe.mutex);
        (void)pthread_mutex_destroy(&probe.mutex);
    }
    (void)pthread_mutexattr_destroy(&attributes);
    return status;
}

static uint32_t
fingerprint(void)
{
    const uint32_t sizes[] = {
        (uint32_t)sizeof(struct troupe__heap),
        (uint32_t)sizeof(struct troupe__slot),
        (uint32_t)sizeof(struct troupe__member),
        (uint32_t)sizeof(pthread_mutex_t),
        (uint32_t)offsetof(struct troupe__heap, pages),
        (uint32_t)offsetof(struct troupe__heap, directory),
        (uint32_t)offsetof(struct troupe__slot, magazine_count),
        TROUPE__LAYOUT_VERSION,
    };
    uint32_t hash = UINT32_C(2166136261);
    unsigned i;

    for (i = 0; i < TROUPE__COUNT(sizes); i++)
        hash = (hash ^ sizes[i]) * UINT32_C(16777619);
    return hash;
}

static int
map_somewhere(int fd, uint64_t size, bool core_dump, uint64_t *ret_base)
{
    unsigned range;
    int status = -ENOMEM;

    for (range = 0; range < TROUPE__COUNT(ranges); range++) {
        uint64_t room = ranges[range].last - ranges[range].first;
        unsigned try;

        if (room <= size)
            continue;
        if (__tsan_init != NULL && !ranges[range].thread_sanitizer)
            continue;
        for (try = 0; try < TRIES_PER_RANGE; try++) {
            uint64_t base = ranges[range].first +
                            (troupe__memory_random() % (room - size)) /
                                ALIGNMENT * ALIGNMENT;

            status = troupe__memory_map(fd, base, size, core_dump);
            if (status == 0) {
                *ret_base = base;
                return 0;
            }
            if (status != -EEXIST)
                break;
        }
    }
    return status;
}

/* Lays the heap out in a fresh mapping. Nobody else can see it yet. */
static int
heap_init(struct troupe__family *family, uint64_t limit)
{
    struct troupe__heap *heap = family->heap;
    uint64_t rest = family->window - TROUPE__PAGES_OFFSET;
    uint64_t pages = rest / (TROUPE__PAGE + sizeof(struct troupe__page));
    int status;

    status = troupe__memory_commit(family->fd, 0, sizeof(*heap));
    if (status < 0)
        return status;
    status = find_token_word(&heap->token_word);
    if (status < 0)
        return status;
    heap->arena_offset = troupe__round_up(
        TROUPE__PAGES_OFFSET + pages * sizeof(struct troupe__page),
        TROUPE__PAGE);
    heap->arena_pages =
        (uint32_t)((family->window - heap->arena_offset) / TROUPE__PAGE);
    heap->version = TROUPE__LAYOUT_VERSION;
    heap->fingerprint = fingerprint();
    heap->base = family->base;
    heap->window = family->window;
    heap->members_limit = TROUPE__MEMBERS;
    heap->slots_limit = TROUPE__SLOTS;
    heap->root_pid = troupe__task_pid();
    heap->root_namespace = troupe__task_namespace();
    heap->created_at = troupe__clock_now();
    heap->pages.limit_pages = heap->arena_pages;
    heap->pages.keep_pages = KEEP_FREE / TROUPE__PAGE;
    if (limit != 0 && limit / TROUPE__PAGE < heap->arena_pages)
        heap->pages.limit_pages = limit / TROUPE__PAGE;
    /* Holes around what the kernel writes and what recovery relies on: a run
     * of wild stores from the arena or the header ends there. */
    (void)troupe__memory_guard(family->base + TROUPE__MEMBERS_OFFSET -
                                   TROUPE__GUARD_SIZE,
                               TROUPE__GUARD_SIZE);
    (void)troupe__memory_guard(family->base + TROUPE__SLOTS_OFFSET -
                                   TROUPE__GUARD_SIZE,
                               TROUPE__GUARD_SIZE);
    (void)troupe__memory_guard(family->base + TROUPE__PAGES_OFFSET -
                                   TROUPE__GUARD_SIZE,
                               TROUPE__GUARD_SIZE);
    heap->magic = TROUPE__MAGIC;
    return 0;
}

static int
create(const troupe_heap_options *options)
{
    struct troupe__family family;
    uint64_t limit = options->limit;
    int status;

    memset(&family, 0, sizeof(family));
    family.fd = troupe__memory_file("troupe");
    if (family.fd < 0)
        return troupe__detail_refused(family.fd,
                                      "creating the heap's memory file");
    family.window = options->window != 0
                        ? troupe__round_up(options->window, ALIGNMENT)
                        : DEFAULT_WINDOW;
    while (family.window > troupe__memory_file_limit() &&
           family.window / 2 >= MINIMAL_WINDOW)
        family.window /= 2;
    for (;;) {
        status = map_somewhere(family.fd, family.window, options->core_dump,
                               &family.base);
        if (status != -ENOMEM || family.window / 2 < MINIMAL_WINDOW)
            break;
        family.window /= 2;
    }
    if (status < 0) {
        (void)close(family.fd);
        return troupe__detail_refused(status,
                                      "no room for a window of %llu bytes",
                                      (unsigned long long)family.window);
    }
    family.heap = (struct troupe__heap *)(uintptr_t)family.base;
    status = troupe__memory_file_id(family.fd, &family.file);
    if (status == 0)
        status = heap_init(&family, limit);
    if (status < 0) {
        troupe__memory_unmap(family.base, family.window);
        (void)close(family.fd);
        return troupe__detail_refused(status, "laying out the heap");
    }
    troupe__family.base = family.base;
    troupe__family.window = family.window;
    troupe__family.fd = family.fd;
    troupe__family.file = family.file;
    troupe__family.arena_offset = family.heap->arena_offset;
    troupe__family.arena_pages = family.heap->arena_pages;
    troupe__family.token_word = family.heap->token_word;
    /* release: who finds the heap finds the rest. */
    troupe__store_release(&troupe__family.heap, family.heap);
    return 0;
}

int
troupe__family_create(const troupe_heap_options *options, bool *ret_created)
{
    static const troupe_heap_options defaults;
    int status = 0;

    *ret_created = false;
    if (troupe__load_acquire(&troupe__family.heap) != NULL)
        return 0;
    (void)pthread_mutex_lock(&creation);
    if (troupe__family.heap == NULL) {
        status = create(options != NULL ? options : &defaults);
        *ret_created = status == 0;
    }
    (void)pthread_mutex_unlock(&creation);
    return status;
}

/* A host that closes descriptors it does not know may have put a file of its
 * own in our place: never write into that. */
static bool
file_is_ours(void)
{
    struct troupe__file_id id;

    return troupe__memory_file_id(troupe__family.fd, &id) == 0 &&
           id.device == troupe__family.file.device &&
           id.inode == troupe__family.file.inode;
}

int
troupe__family_commit(uint64_t offset, uint64_t size)
{
    int status;

    if (offset > troupe__family.window || size > troupe__family.window - offset)
        return -ENOMEM;
    if (!file_is_ours())
        return troupe__detail(-ENOMEM,
                              "the heap's descriptor %d was closed behind "
                              "the library's back",
                              troupe__family.fd);
    status = troupe__memory_commit(troupe__family.fd, offset, size);
    return status < 0 ? -ENOMEM : 0;
}

void
troupe__family_discard(uint64_t offset, uint64_t size)
{
    if (file_is_ours())
        troupe__memory_discard(troupe__family.fd, offset, size);
}

uint64_t
troupe__family_committed(void)
{
    return file_is_ours() ? troupe__memory_taken(troupe__family.fd) : 0;
}

/* The calling thread's private page; one that was wiped by a fork is used
 * again. */
static struct troupe__thread *
thread_page(void)
{
    struct troupe__thread *self = troupe__thread_self;

    if (self != &nobody)
        return self;
    self = troupe__memory_wiped_page();
    if (self == NULL)
        return NULL;
    if (pthread_setspecific(thread_key, self) != 0) {
        (void)munmap(self, TROUPE__PAGE);
        return NULL;
    }
    troupe__thread_self = self; /* kept, should joining fail */
    return self;
}

static int
join(void)
{
    struct troupe__thread *self;
    bool settled = true;
    bool created;
    bool started;
    int status;

    if (pthread_once(&once, process_init) != 0 || once_error != 0)
        return troupe__detail(-ENOMEM, "thread-specific data");
    status = troupe__family_create(NULL, &created);
    if (status < 0)
        return status;
    self = thread_page();
    if (self == NULL)
        return troupe__detail(-ENOMEM, "a page for the thread");
    /* A started child leaves recovery to those who were there before: it would
     * have to look at everybody, with pages that it has not touched yet. */
    started = self->tid != 0;
    do {
        /* From the claim on the tag is set, though not yet published: only this
         * thread looks at its own page. */
        status = troupe__slot_claim(self, settled);
        if (status < 0)
            return status;
        /* Before it settles, for that may owe somebody a ring: see there. */
        status = troupe__member_join(&self->member);
        /* What cannot be settled now keeps its slot. */
        settled = troupe__slot_inherit(self);
        if (status < 0 || !settled)
            troupe__slot_leave(self);
    } while (status == 0 && !settled);
    if (status < 0)
        return status;
    if (!started)
        (void)troupe__slots_recover();
    return 0;
}

int
troupe__thread_join(void)
{
    /* Allocating is no cancellation point, and a thread cancelled in the middle
     * of making the heap would hold the others up for ever. */
    TROUPE__UNCANCELLED;

    return join();
}

int
troupe_heap_setup(const troupe_heap_options *options)
{
    troupe_heap_options o;
    bool created;
    int cancel;
    int status;

    troupe__detail_clear();
    status = troupe__options_copy(&o, sizeof(o), options);
    if (status == 0)
        status = troupe__options_unknown(o.reserved_, sizeof(o.reserved_));
    if (status < 0)
        return status;
    if (o.window != 0 &&
        (o.window < MINIMAL_WINDOW || o.window > TROUPE__LARGEST_WINDOW))
        return troupe__detail(-EINVAL, "window of %llu bytes",
                              (unsigned long long)o.window);
    if (pthread_once(&once, process_init) != 0 || once_error != 0)
        return troupe__detail(-ENOMEM, "thread-specific data");
    cancel = troupe__cancel_off();
    status = troupe__family_create(&o, &created);
    troupe__cancel_restore(&cancel);
    if (status == 0 && !created)
        return troupe__detail(-EBUSY, "the heap exists already");
    return status;
}

bool
troupe_heap_contains(const void *address, size_t size)
{
    uint64_t offset;

    /* acquire: what describes the heap is read after it is there. */
    if (troupe__load_acquire(&troupe__family.heap) == NULL)
        return false;
    offset = troupe__family_offset(address);
    return offset >= troupe__family.arena_offset &&
           offset < troupe__family.window &&
           size <= troupe__family.window - offset;
}
