/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/lock.h>

#include "heap/pages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

TEST(heap_comes_into_being_with_the_first_call)
{
    void *block = NULL;

    CHECK(!troupe_heap_contains(&block, 1));
    CHECK_EQ(troupe_usable_size(&block), 0u);
    CHECK_RC(troupe_free(&block), -EINVAL);
    block = troupe_alloc(100);
    CHECK(block != NULL);
    CHECK_RC(troupe_heap_setup(NULL), -EBUSY);
    CHECK_RC(troupe_free(block), 0);
}

TEST(heap_setup_takes_its_options)
{
    troupe_heap_options options = {
        .size = sizeof(options), .window = 100 * MIB + 1, .limit = 10 * MIB};
    troupe_heap_info info;

    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK_RC(troupe_heap_setup(&options), -EBUSY);
    CHECK_RC(troupe_heap_setup(NULL), -EBUSY);
    info = unit_info();
    CHECK_EQ(info.window, 102 * MIB);
    CHECK_EQ(info.limit, 10 * MIB);
    CHECK_EQ(info.base % (2 * MIB), 0u);
    CHECK_EQ(info.members, 1u);
    CHECK_EQ(info.threads, 1u);
    CHECK(troupe_alloc(11 * MIB) == NULL);
}

TEST(heap_options_that_are_not_allowed)
{
    static const uint64_t windows[] = {
        1, 4096, 64 * MIB - 1, 64 * GIB + 1, UINT64_MAX, (uint64_t)1 << 44};
    troupe_heap_options options = {.size = sizeof(options)};

    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        options.window = windows[i];
        CHECK_RC(troupe_heap_setup(&options), -EINVAL);
    }
    options.window = 64 * MIB;
    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK_EQ(unit_info().window, 64 * MIB);
    CHECK(troupe_alloc(10 * MIB) != NULL);
    CHECK(troupe_alloc(20 * MIB) == NULL);
}

#if !defined(HARNESS_TSAN)
TEST(heap_of_the_largest_window_is_usable_to_its_end)
{
    troupe_heap_options options = {.size = sizeof(options), .window = 64 * GIB};
    troupe_heap_info info;
    uint32_t last;

    CHECK_RC(troupe_heap_setup(&options), 0);
    info = unit_info();
    if (info.window != 64 * GIB)
        SKIP("a limit of address space");
    /* the last block's place fits every list */
    last = troupe__family.arena_pages - 1;
    CHECK_LE(troupe__family_offset(troupe__page_memory(last)) + 4096, 64 * GIB);
    CHECK_EQ(
        (uint64_t)(uint32_t)(troupe__family_offset(troupe__page_memory(last)) >>
                             4)
            << 4,
        troupe__family_offset(troupe__page_memory(last)));
}
#endif

TEST(heap_info_is_refused_without_a_size)
{
    troupe_heap_info info = {.size = sizeof(size_t) - 1};

    CHECK_RC(troupe_heap_info_get(NULL), -EINVAL);
    CHECK_RC(troupe_heap_info_get(&info), -EINVAL);
    info.size = 0;
    CHECK_RC(troupe_heap_info_get(&info), -EINVAL);
    info.size = SIZE_MAX;
    CHECK_RC(troupe_heap_info_get(&info), -EINVAL);
}

TEST(heap_info_of_another_version_gets_what_both_know)
{
    struct {
        troupe_heap_info info;
        uint64_t beyond[2];
    } s;

    memset(&s, 0x55, sizeof(s));
    s.info.size = offsetof(troupe_heap_info, limit);
    CHECK_RC(troupe_heap_info_get(&s.info), 0);
    CHECK_EQ(s.info.size, offsetof(troupe_heap_info, limit));
    CHECK_EQ(s.info.base, troupe__family.base);
    CHECK_EQ(s.info.window, troupe__family.window);
    CHECK_EQ(s.info.limit, UINT64_C(0x5555555555555555));
    s.info.size = sizeof(s.info) + sizeof(s.beyond[0]);
    CHECK_RC(troupe_heap_info_get(&s.info), 0);
    CHECK_EQ(s.info.threads, 1u);
    CHECK_EQ(s.beyond[0], 0u);
    CHECK_EQ(s.beyond[1], UINT64_C(0x5555555555555555));
}

TEST(heap_contains_exactly_the_arena)
{
    troupe_heap_info info = unit_info();
    const char *base = (const char *)(uintptr_t)info.base;
    const char *end = base + info.window;
    const char *arena = troupe__page_memory(0);
    char local = 0;

    CHECK(!troupe_heap_contains(&local, 1));
    CHECK(!troupe_heap_contains(NULL, 0));
    CHECK(!troupe_heap_contains(base, 1));
    CHECK(!troupe_heap_contains(arena - 1, 1));
    CHECK(troupe_heap_contains(arena, 1));
    CHECK(troupe_heap_contains(end - 1, 1));
    CHECK(!troupe_heap_contains(end - 1, 2));
    CHECK(!troupe_heap_contains(end, 0));
    CHECK(!troupe_heap_contains(end, SIZE_MAX));
    CHECK(!troupe_heap_contains(arena, SIZE_MAX));
}

struct node {
    struct node *next;
    uint64_t value;
    char *text;
};

struct list {
    struct node *first;
    uint64_t base;
};

static void
build_list(void *argument)
{
    struct list *list = argument;

    CHECK_EQ(unit_info().base, list->base);
    for (uint64_t i = 0; i < 1000; i++) {
        struct node *n = troupe_alloc(sizeof(*n));
        char text[32];

        CHECK(n != NULL);
        (void)snprintf(text, sizeof(text), "node %" PRIu64, i);
        n->value = i;
        n->text = troupe_strdup(text);
        n->next = list->first;
        list->first = n;
    }
}

static void
build_list_in_a_grandchild(void *argument)
{
    unit_join(unit_fork(build_list, argument));
}

TEST(heap_plain_pointers_work_across_processes)
{
    struct list *list = unit_shared(sizeof(*list));
    struct node *next;
    uint64_t expected = 1000;

    list->base = unit_info().base;
    unit_join(unit_fork(build_list_in_a_grandchild, list));
    for (struct node *n = list->first; n != NULL; n = next) {
        char text[32];

        next = n->next;
        CHECK_EQ(n->value, --expected);
        (void)snprintf(text, sizeof(text), "node %" PRIu64, expected);
        CHECK_STR(n->text, text);
        CHECK_RC(troupe_free(n->text), 0);
        CHECK_RC(troupe_free(n), 0);
    }
    CHECK_EQ(expected, 0u);
}

/* Whether each mapping of the heap has a flag in VmFlags. */
static bool
all_mappings_have(const char *flag)
{
    char line[512];
    bool inside = false;
    bool all = true;
    int seen = 0;
    FILE *smaps = fopen("/proc/self/smaps", "re");

    CHECK(smaps != NULL);
    while (fgets(line, sizeof(line), smaps) != NULL) {
        if (strstr(line, "/memfd:troupe") != NULL) {
            inside = true;
            seen++;
        }
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            all = all && strstr(line, flag) != NULL;
            inside = false;
        }
    }
    (void)fclose(smaps);
    CHECK_GT(seen, 0);
    return all;
}

TEST(heap_stays_out_of_core_dumps)
{
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK(all_mappings_have(" dd"));
}

TEST(heap_goes_into_core_dumps_if_asked)
{
    troupe_heap_options options = {.size = sizeof(options), .core_dump = true};

    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK(!all_mappings_have(" dd"));
}

TEST(heap_descriptor_is_closed_on_exec_and_cannot_shrink)
{
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK((fcntl(troupe__family.fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl(troupe__family.fd, F_GET_SEALS) & F_SEAL_SHRINK) != 0);
    CHECK_NE(ftruncate(troupe__family.fd, 0), 0);
}

/* Allocates until more memory of the system would be needed. */
static void
use_up_what_is_committed(void)
{
    while (troupe_alloc(8 * MIB) != NULL)
        ;
    CHECK_EQ(errno, ENOMEM);
    while (troupe_alloc(9000) != NULL)
        ;
    CHECK_EQ(errno, ENOMEM);
    while (troupe_alloc(100) != NULL)
        ;
    CHECK_EQ(errno, ENOMEM);
}

TEST(heap_descriptor_closed_behind_its_back_is_no_memory)
{
    void *block = troupe_alloc(5000);

    CHECK(block != NULL);
    memset(block, 7, 5000);
    CHECK_EQ(close(troupe__family.fd), 0);
    use_up_what_is_committed();
    CHECK_EQ(((char *)block)[4999], 7);
    CHECK_RC(troupe_free(block), 0);
    CHECK((block = troupe_alloc(5000)) != NULL);
    CHECK_RC(troupe_free(block), 0);
}

TEST(heap_descriptor_replaced_by_a_file_leaves_the_file_alone)
{
    char path[256];
    struct stat st;
    int fd;

    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK(troupe_alloc(100) != NULL);
    (void)snprintf(path, sizeof(path), "%s/file", harness_tmpdir());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, "data", 4), 4);
    harness_keep_fd(troupe__family.fd);
    CHECK_EQ(dup2(fd, troupe__family.fd), troupe__family.fd);
    use_up_what_is_committed();
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_size, 4);
    (void)close(fd);
    CHECK_EQ(unlink(path), 0);
}

/* Lowers a limit before there is a heap. */
static void
limit(int resource, uint64_t value)
{
    struct rlimit r;

    CHECK_EQ(getrlimit((unsigned)resource, &r), 0);
    r.rlim_cur = value;
    CHECK_EQ(setrlimit((unsigned)resource, &r), 0);
}

TEST(heap_under_a_limit_of_file_size_has_a_smaller_window)
{
    void *block;

    limit(RLIMIT_FSIZE, 300 * MIB);
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK_EQ(unit_info().window, 256 * MIB);
    CHECK((block = troupe_alloc(100 * MIB)) != NULL);
    memset(block, 1, 100 * MIB);
    use_up_what_is_committed(); /* and no SIGXFSZ */
    CHECK_RC(troupe_free(block), 0);
    CHECK(troupe_alloc(90 * MIB) != NULL);
}

TEST(heap_under_the_smallest_limits_of_file_size)
{
    static const uint64_t limits[] = {50 * MIB, 41 * MIB, 40 * MIB,
                                      1 * MIB,  4096,     0};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        pid_t pid = fork();

        CHECK_GE(pid, 0);
        if (pid == 0) {
            troupe_heap_options options = {.size = sizeof(options),
                                           .window = 66 * MIB};
            int status;

            limit(RLIMIT_FSIZE, limits[i]);
            status = troupe_heap_setup(&options);
            if (status == 0) {
                CHECK_EQ(troupe__family.window, 66 * MIB);
                use_up_what_is_committed();
            } else {
                CHECK_RC(status, -ENOMEM);
            }
            _exit(0);
        }
        unit_join(pid);
    }
}

#if !defined(HARNESS_ASAN) && !defined(HARNESS_TSAN)
TEST(heap_under_a_limit_of_address_space_has_a_smaller_window)
{
    void *block;

    limit(RLIMIT_AS, 1 * GIB);
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK_EQ(unit_info().window, 512 * MIB);
    CHECK((block = troupe_alloc(200 * MIB)) != NULL);
    memset(block, 1, 200 * MIB);
    CHECK(troupe_alloc(400 * MIB) == NULL);
    CHECK_RC(troupe_free(block), 0);
}

TEST(heap_without_address_space_cannot_be_made_and_then_can)
{
    struct rlimit before;

    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    limit(RLIMIT_AS, 32 * MIB);
    CHECK_RC(troupe_heap_setup(NULL), -ENOMEM);
    CHECK(troupe_alloc(10) == NULL);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    CHECK_RC(troupe_heap_setup(NULL), 0);
    CHECK(troupe_alloc(10) != NULL);
}
#endif

TEST(heap_without_descriptors_cannot_be_made_and_then_can)
{
    struct rlimit before;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit(RLIMIT_NOFILE, 0);
    CHECK_RC(troupe_heap_setup(NULL), -EMFILE);
    CHECK(troupe_alloc(10) == NULL);
    CHECK_EQ(errno, EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(troupe_alloc(10) != NULL);
}

struct idlers {
    uint32_t arrived;
    troupe_lock lock;
};

static void
idle(void *argument)
{
    struct idlers *i = argument;
    void *block = troupe_alloc(100);

    CHECK(block != NULL);
    CHECK_RC(troupe_free(block), 0);
    CHECK_GE(troupe_lock_acquire(&i->lock, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_lock_release(&i->lock), 0);
    unit_raise(&i->arrived);
    unit_sleep_forever();
}

TEST(heap_of_an_idle_family_of_eight_takes_less_than_a_mebibyte)
{
    struct idlers *i = unit_shared(sizeof(*i));
    struct stat st;
    pid_t pids[7];

    for (size_t k = 0; k < 7; k++)
        pids[k] = unit_fork(idle, i);
    unit_await(&i->arrived, 7);
    CHECK_EQ(unit_info().members, 8u);
    CHECK_EQ(fstat(troupe__family.fd, &st), 0);
    CHECK_LT((uint64_t)st.st_blocks * 512, 1 * MIB);
    /* what it says of itself is what the system says */
    CHECK_LE(unit_info().committed, (uint64_t)st.st_blocks * 512 + 65536);
    for (size_t k = 0; k < 7; k++)
        unit_kill(pids[k]);
}

TEST(heap_guards_lie_before_the_records)
{
    static const uint64_t offsets[] = {
        TROUPE__MEMBERS_OFFSET, TROUPE__SLOTS_OFFSET, TROUPE__PAGES_OFFSET};

    CHECK_RC(troupe_heap_setup(NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        pid_t pid = fork();
        int status;

        CHECK_GE(pid, 0);
        if (pid == 0) {
            (void)signal(SIGSEGV, SIG_DFL);
            *(volatile char *)troupe__family_at(offsets[i] - 1) = 1;
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(WTERMSIG(status), SIGSEGV);
    }
}

TEST(heap_lasts_longer_than_its_root)
{
    int ends[2];
    char byte = 0;
    pid_t pid;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        /* the root: its child outlives it */
        struct list *list = unit_shared(sizeof(*list));
        pid_t root = getpid();

        list->base = unit_info().base;
        if (fork() == 0) {
            while (getppid() == root)
                (void)sched_yield();
            build_list(list);
            CHECK_EQ(unit_info().members, 1u);
            CHECK_EQ(write(ends[1], "k", 1), 1);
            _exit(0);
        }
        _exit(0);
    }
    (void)close(ends[1]);
    unit_join(pid);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(byte, 'k');
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    (void)close(ends[0]);
}

/* Two families in one tree know nothing of each other. */
TEST(heap_of_another_family_is_another)
{
    int ends[2];
    uint64_t bases[2];

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    for (size_t i = 0; i < 2; i++) {
        pid_t pid = fork();

        CHECK_GE(pid, 0);
        if (pid == 0) {
            uint64_t base = unit_info().base;

            CHECK_EQ(unit_info().members, 1u);
            CHECK_EQ(write(ends[1], &base, sizeof(base)),
                     (ssize_t)sizeof(base));
            _exit(0);
        }
        unit_join(pid);
        CHECK_EQ(read(ends[0], &bases[i], sizeof(bases[i])),
                 (ssize_t)sizeof(bases[i]));
    }
    CHECK_NE(bases[0], 0u);
    (void)close(ends[0]);
    (void)close(ends[1]);
    CHECK(!troupe_heap_contains((void *)(uintptr_t)bases[0], 1));
}
