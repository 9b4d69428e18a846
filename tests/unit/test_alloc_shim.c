/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the system refuses, at every call at which it can.
 */
#include "unit.h"

#include <troupe/error.h>
#include <troupe/scope.h>

#include "heap/pages.h"
#include "heap/slab.h"
#include "os/fault.h"

#define MIB ((size_t)1 << 20)

static const char *failing;
static int failing_with;
static int calls_until;

/* The n-th call of a kind fails. */
static int
fail_nth(const char *call)
{
    if (strcmp(call, failing) != 0)
        return 0;
    return calls_until-- == 0 ? failing_with : 0;
}

static int
fail_always(const char *call)
{
    return strcmp(call, failing) == 0 ? failing_with : 0;
}

TEST(heap_that_cannot_be_made_says_why_and_can_be_made_later)
{
    static const struct {
        const char *call;
        int error;
        int status;
        int said; /* by the system, in the text */
    } cases[] = {
        {"memfd_create", EMFILE, -EMFILE, EMFILE},
        {"memfd_create", ENFILE, -ENFILE, ENFILE},
        {"memfd_create", ENOMEM, -ENOMEM, ENOMEM},
        {"memfd_create", EPERM, -ENOTSUP, EPERM},
        {"memfd_create", ENOSYS, -ENOTSUP, ENOSYS},
        {"mmap", ENOMEM, -ENOMEM, ENOMEM},
        {"mmap", EEXIST, -ENOMEM, EEXIST},
        {"mmap", EAGAIN, -ENOMEM, ENOMEM},
        {"mmap", EACCES, -ENOTSUP, EACCES},
        {"fallocate", ENOSPC, -ENOMEM, ENOSPC},
        {"fallocate", EPERM, -ENOTSUP, EPERM},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        failing = cases[i].call;
        failing_with = cases[i].error;
        troupe__shim_fault = fail_always;
        CHECK_RC(troupe_heap_setup(NULL), cases[i].status);
        CHECK(strstr(troupe_error_detail(), strerror(cases[i].said)) != NULL);
        errno = 0;
        CHECK(troupe_alloc(1) == NULL);
        CHECK_EQ(errno, -cases[i].status);
        troupe__shim_fault = NULL;
        CHECK(!troupe_heap_contains(&failing, 1));
    }
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK(troupe_alloc(1) != NULL);
}

/* As after mlockall(MCL_FUTURE), with a limit of locked memory. */
static int
lock_too_much(const char *call)
{
    return strcmp(call, "mmap") == 0 && calls_until-- > 0 ? EAGAIN : 0;
}

TEST(heap_window_that_cannot_be_locked_is_halved)
{
    troupe_heap_options options = {.size = sizeof(options),
                                   .window = 1024 * MIB};

    calls_until = 3; /* one for each range of addresses */
    troupe__shim_fault = lock_too_much;
    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK_EQ(unit_info().window, 512 * MIB);
}

static uint64_t
used(void)
{
    struct troupe__slot *slot = unit_slot();
    uint64_t free_bytes;
    uint64_t bytes;

    troupe__slab_recover(troupe__thread_self, slot, troupe__thread_self->index);
    troupe__pages_count(troupe__thread_self, &bytes, &free_bytes);
    return bytes - free_bytes;
}

/* Everything that takes memory, undone again; whatever fails in between. */
static bool
work(void)
{
    void *blocks[40] = {NULL};
    troupe_scope *scope = NULL;
    bool all = true;

    for (size_t i = 0; i < 40; i++) {
        size_t size = i < 30 ? i * 250 : i * 40000;

        errno = 0;
        blocks[i] = troupe_alloc(size);
        if (blocks[i] == NULL) {
            CHECK_EQ(errno, ENOMEM);
            all = false;
        } else {
            memset(blocks[i], (int)i, size);
        }
    }
    for (size_t i = 0; i < 40; i++) {
        void *larger;

        if (blocks[i] == NULL)
            continue;
        larger = troupe_realloc(blocks[i], 3 * i * 1000);
        if (larger != NULL)
            blocks[i] = larger;
        else
            all = false;
        CHECK_GT(troupe_usable_size(blocks[i]), 0u);
        if (i > 0)
            CHECK_EQ(*(unsigned char *)blocks[i], i);
    }
    if (troupe_scope_new(&scope) == 0) {
        for (size_t i = 0; i < 100; i++)
            if (troupe_scope_alloc(scope, i * 100) == NULL)
                all = false;
        CHECK_RC(troupe_scope_free(scope), 0);
    } else {
        all = false;
    }
    for (size_t i = 0; i < 40; i++)
        if (blocks[i] != NULL)
            CHECK_RC(troupe_free(blocks[i]), 0);
    return all;
}

TEST_TIMEOUT(alloc_failure_at_every_growth_leaves_the_heap_in_order, 120)
{
    int failures = 0;

    for (int n = 0;; n++) {
        pid_t pid = fork();
        int status;

        CHECK_GE(pid, 0);
        if (pid == 0) {
            /* a family of its own: the parent has no heap */
            uint64_t before;
            bool all;

            failing = "fallocate";
            failing_with = n % 2 == 0 ? ENOSPC : ENOMEM;
            calls_until = n;
            troupe__shim_fault = fail_nth;
            all = work();
            troupe__shim_fault = NULL;
            CHECK(work()); /* what failed once succeeds now */
            before = used();
            CHECK(work());
            CHECK_EQ(used(), before);
            _exit(all && calls_until >= 0 ? 99 : 0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        if (WEXITSTATUS(status) == 99)
            break;
        CHECK_EQ(WEXITSTATUS(status), 0);
        failures++;
    }
    CHECK_GT(failures, 10);
}

TEST(alloc_failure_of_the_system_is_no_memory)
{
    void *block = troupe_alloc(100);
    int count = 0;

    CHECK(block != NULL);
    failing = "fallocate";
    failing_with = ENOSPC;
    troupe__shim_fault = fail_always;
    while (troupe_alloc(5000) != NULL)
        count++;
    CHECK_EQ(errno, ENOMEM);
    CHECK_LT(count, 100);
    errno = 0;
    CHECK(troupe_realloc(block, MIB) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(troupe_usable_size(block), 112u);
    CHECK_RC(troupe_free(block), 0);
    troupe__shim_fault = NULL;
    CHECK(troupe_alloc(MIB) != NULL);
}

/* A large step that is refused is tried again with what is needed alone. */
static int
refuse_first(const char *call)
{
    (void)call;
    return strcmp(call, "fallocate") == 0 && calls_until-- == 0 ? ENOSPC : 0;
}

TEST(alloc_grows_by_what_is_needed_when_more_is_refused)
{
    CHECK(troupe_alloc(8 * MIB) != NULL); /* the next step is large */
    for (int n = 0; n < 2; n++) {
        calls_until = n;
        troupe__shim_fault = refuse_first;
        CHECK(troupe_alloc(20000) != NULL);
        while (calls_until >= 0)
            CHECK(troupe_alloc(20000) != NULL);
        troupe__shim_fault = NULL;
    }
}

/* A process or thread ends at the n-th atomic operation from now on. */
static uint64_t points_left;
static bool ends_thread;

static void
at_a_point(const volatile void *address)
{
    (void)address;
    if (points_left == 0 || --points_left != 0)
        return;
    troupe__shim_atomic_hook = NULL;
    if (ends_thread)
        pthread_exit(NULL);
    (void)raise(SIGKILL);
}

static void
arm(uint64_t point)
{
    points_left = point;
    troupe__shim_atomic_hook = at_a_point;
}

/* ---- a slab in the making while the sequence of runs is made anew ---- */

enum { SLAB_PAGES = 4 }; /* of the class of the smallest blocks */

/* Stops when all but the commit of the slab stands. */
static void
stop_before_the_slab(const volatile void *address)
{
    uint32_t page = troupe__thread_self->slot->run_page - 1;

    if (page == TROUPE__NO_PAGE || address != &troupe__page_at(page)->head ||
        troupe__page_state(troupe__page_at(page + SLAB_PAGES - 1)->head) !=
            TROUPE__PAGE_PART)
        return;
    troupe__shim_atomic_hook = NULL;
    (void)raise(SIGSTOP);
}

static void
make_slab(void *argument)
{
    uint32_t last = SLAB_PAGES - 1;
    unsigned char *first;
    unsigned char *block;

    (void)argument;
    (void)unit_slot();
    troupe__shim_atomic_hook = stop_before_the_slab;
    first = troupe_alloc(1);
    CHECK(first != NULL);
    CHECK(troupe__shim_atomic_hook == NULL);
    first -= (uintptr_t)first % TROUPE__PAGE;
    /* every block of it can be had, also those in its last page */
    do {
        block = troupe_alloc(1);
        CHECK(block != NULL);
        CHECK_LT((uintptr_t)(block - first), SLAB_PAGES * TROUPE__PAGE);
        CHECK_EQ(troupe_usable_size(block), 16u);
    } while (block < first + (size_t)last * TROUPE__PAGE);
}

/* Dies as soon as it holds the lock of the pages. */
static void
die_under_the_lock(const volatile void *address)
{
    const uint64_t *word = &troupe__family.heap->pages.lock.word;

    if (address != word &&
        (*word & ~TROUPE__WAITERS) == troupe__thread_self->tag)
        (void)raise(SIGKILL);
}

static void
leave_the_lock(void *argument)
{
    (void)argument;
    (void)unit_slot();
    troupe__shim_atomic_hook = die_under_the_lock;
    (void)!troupe_alloc(MIB);
}

TEST(alloc_slab_in_the_making_survives_a_death_under_the_lock)
{
    siginfo_t info = {.si_pid = 0};
    pid_t maker;
    pid_t dead;

    (void)unit_slot();
    maker = unit_fork(make_slab, NULL);
    CHECK_EQ(waitid(P_PID, (id_t)maker, &info, WSTOPPED | WEXITED | WNOWAIT),
             0);
    CHECK_EQ(info.si_code, CLD_STOPPED);
    dead = unit_fork(leave_the_lock, NULL);
    unit_reap(dead);
    CHECK_NE(troupe__family.heap->pages.lock.word, 0u);
    CHECK_RC(troupe_free(troupe_alloc(MIB)), 0);
    CHECK_EQ(kill(maker, SIGCONT), 0);
    unit_join(maker);
}

struct trimming {
    void *block;
    uint64_t point;
    uint32_t freed;
};

/* Frees 8 MiB, and gives them back; then takes them again, at last as one run
 * that has memory and one that has not. */
static void
trim_and_refill(void *argument)
{
    struct trimming *t = argument;

    (void)unit_slot();
    t->block = troupe_alloc(8 * MIB);
    CHECK(t->block != NULL);
    /* as if so much had been freed before */
    troupe__family.heap->pages.released = 1u << 20;
    arm(t->point);
    CHECK_RC(troupe_free(t->block), 0);
    t->freed = 1;
    for (size_t i = 1; i <= 2; i++) {
        t->block = troupe_alloc(i * 4 * MIB);
        CHECK(t->block != NULL);
        CHECK_RC(troupe_free(t->block), 0);
    }
    troupe__shim_atomic_hook = NULL;
}

TEST_TIMEOUT(alloc_killed_anywhere_while_memory_goes_back, 120)
{
    struct trimming *t = unit_shared(sizeof(*t));
    uint64_t before = 0;
    uint64_t point = 0;
    bool done = false;

    troupe__family.heap->pages.keep_pages = 64;
    while (!done) {
        unsigned char *block;
        int status;
        pid_t pid;

        t->point = ++point;
        t->freed = 0;
        t->block = NULL;
        pid = unit_fork(trim_and_refill, t);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        done = WIFEXITED(status);
        CHECK(done ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
        (void)unit_info();
        /* what it had not begun to free, or had got already, is the family's */
        if (troupe_usable_size(t->block) != 0)
            CHECK_RC(troupe_free(t->block), 0);
        /* whatever is hollow by now can be had, and written to */
        block = troupe_alloc(9 * MIB);
        CHECK(block != NULL);
        memset(block, 1, 9 * MIB);
        CHECK_RC(troupe_free(block), 0);
        if (before == 0)
            before = used();
        CHECK_EQ(used(), before);
    }
    CHECK_GT(point, 20u);
}

TEST(alloc_of_memory_that_went_back_and_is_refused_now)
{
    void *block = troupe_alloc(64 * MIB);
    uint64_t before;

    CHECK(block != NULL);
    troupe__family.heap->pages.keep_pages = 0;
    CHECK_RC(troupe_free(block), 0);
    CHECK_LE(unit_info().committed, 2 * MIB);
    before = used();
    failing = "fallocate";
    failing_with = ENOSPC;
    troupe__shim_fault = fail_always;
    errno = 0;
    CHECK(troupe_alloc(64 * MIB) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(used(), before);
    troupe__shim_fault = NULL;
    CHECK(troupe_alloc(64 * MIB) == block);
    memset(block, 1, 64 * MIB);
    CHECK_RC(troupe_free(block), 0);
}

/* The locks of the allocator that are held when the system is asked. */
static unsigned locks_held;
static unsigned calls;

static int
count_locks(const char *call)
{
    struct troupe__heap *heap = troupe__family.heap;
    unsigned i;

    if (strcmp(call, failing) != 0)
        return 0;
    calls++;
    locks_held = heap->pages.lock.word != 0;
    for (i = 0; i < TROUPE__CLASSES; i++)
        locks_held += heap->classes[i].lock.word != 0;
    return 0;
}

TEST(alloc_takes_much_memory_with_no_lock_held)
{
    void *block;

    (void)unit_slot();
    failing = "fallocate";
    troupe__shim_fault = count_locks;
    for (size_t i = 0; i < 3; i++) {
        calls = 0;
        block = troupe_alloc((i + 1) * 64 * MIB);
        CHECK(block != NULL);
        CHECK_GT(calls, 0u);
        CHECK_EQ(locks_held, 0u); /* at the last of them */
        /* the memory is there */
        memset(block, 1, (i + 1) * 64 * MIB);
    }
}

TEST(alloc_gives_memory_back_with_no_lock_held)
{
    enum { COUNT = 5000, SIZE = 8192 };

    static void *blocks[COUNT];

    (void)unit_slot();
    troupe__family.heap->pages.keep_pages = 0;
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = troupe_alloc(SIZE);
        CHECK(blocks[i] != NULL);
    }
    failing = "fallocate_punch";
    calls = 0;
    troupe__shim_fault = count_locks;
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_RC(troupe_free(blocks[i]), 0);
        CHECK_EQ(locks_held, 0u);
    }
    CHECK_GT(calls, 0u);
}

/* A hollow run fits better, and the memory for it is refused. */
TEST(alloc_uses_the_memory_there_is_when_the_system_has_no_more)
{
    void *filled = troupe_alloc(17 * MIB);
    void *hollow;
    uint64_t before;

    CHECK(filled != NULL);
    CHECK(troupe_alloc(MIB) != NULL);
    failing = "fallocate";
    failing_with = ENOSPC;
    calls_until = 2; /* what is refused is left at the arena's end */
    troupe__shim_fault = fail_nth;
    CHECK(troupe_alloc(15 * MIB) == NULL);
    CHECK_RC(troupe_free(filled), 0);
    before = used();
    troupe__shim_fault = fail_always;
    CHECK(troupe_alloc(15 * MIB) == filled);
    memset(filled, 1, 15 * MIB);
    errno = 0;
    CHECK(troupe_alloc(15 * MIB) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK_RC(troupe_free(filled), 0);
    CHECK_EQ(used(), before);
    troupe__shim_fault = NULL;
    hollow = troupe_alloc(15 * MIB);
    CHECK(hollow != NULL && hollow != filled);
    memset(hollow, 1, 15 * MIB);
}

/* Much that is refused costs no memory, and no place in the arena. */
TEST(alloc_of_much_that_is_refused_leaves_nothing)
{
    uint64_t before = 0;
    uint32_t end = 0;

    (void)unit_slot();
    failing = "fallocate";
    failing_with = ENOSPC;
    for (int i = 0; i < 3; i++) {
        calls_until = 2; /* descriptors and the end of the file are had */
        troupe__shim_fault = fail_nth;
        errno = 0;
        if (i > 0)
            calls_until = 0; /* the same pages again */
        CHECK(troupe_alloc(512 * MIB) == NULL);
        CHECK_EQ(errno, ENOMEM);
        CHECK_LT(calls_until, 0);
        troupe__shim_fault = NULL;
        if (i == 0) {
            before = unit_info().committed;
            end = troupe__family.heap->pages.pages_end;
        }
        CHECK_LE(unit_info().committed, before);
        CHECK_LE(unit_info().committed, 4 * MIB);
        CHECK_EQ(troupe__family.heap->pages.pages_end, end);
    }
    CHECK(troupe_alloc(512 * MIB) != NULL);
    CHECK_EQ(troupe__family.heap->pages.pages_end, end);
}

static void *
allocate_and_end(void *argument)
{
    const uint64_t *point = argument;
    void *blocks[40];

    (void)unit_slot();
    arm(*point);
    for (size_t i = 0; i < 40; i++) {
        blocks[i] = troupe_alloc(i < 30 ? 200 : i * 1000);
        CHECK(blocks[i] != NULL);
    }
    for (size_t i = 0; i < 40; i++)
        CHECK_RC(troupe_free(blocks[i]), 0);
    troupe__shim_atomic_hook = NULL;
    return argument;
}

/* As by pthread_exit() in a signal handler: perhaps while the thread holds
 * locks of the allocator, which it then must not wait for at its end. A third
 * of all points, other ones each time. */
TEST_TIMEOUT(alloc_thread_that_ends_anywhere_holds_up_nobody, 120)
{
    uint64_t point = 0;
    void *value = NULL;

    (void)unit_slot();
    ends_thread = true;
    while (value == NULL) {
        pthread_t thread;

        point += 1 + harness_random() % 5;
        CHECK_EQ(pthread_create(&thread, NULL, allocate_and_end, &point), 0);
        CHECK_EQ(pthread_join(thread, &value), 0);
        troupe__shim_atomic_hook = NULL;
        CHECK(work());
        CHECK_EQ(unit_info().threads, 1u);
    }
    CHECK_GT(point, 100u);
}
