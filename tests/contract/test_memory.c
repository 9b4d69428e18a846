/* SPDX-License-Identifier: Apache-2.0 */
/* The heap: a sealed memory file behind a large window that never moves. */
#include "contract.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

enum { PAGE = 4096 };

#define MIB    ((size_t)1 << 20)
#define WINDOW ((size_t)64 << 30)

static int
file_of(size_t size)
{
    int fd = memfd_create("contract", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK_GE(fd, 0);
    CHECK_EQ(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static char *
map_window(int fd, size_t size)
{
    char *window = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, fd, 0);

    CHECK(window != MAP_FAILED);
    return window;
}

static long
resident_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "re");

    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    CHECK_GE(kib, 0);
    return kib;
}

TEST(a_file_sealed_against_shrinking_grows_but_does_not_shrink)
{
    int fd = file_of(2 * PAGE);
    struct stat status;

    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    CHECK_EQ(ftruncate(fd, PAGE), -1);
    CHECK_EQ(errno, EPERM);
    CHECK_EQ(ftruncate(fd, 3 * PAGE), 0);
    CHECK_EQ(fallocate(fd, 0, 3 * PAGE, PAGE), 0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_size, 4 * PAGE);
    close(fd);
}

TEST(pages_allocated_later_are_usable_in_the_older_window_of_another_process)
{
    int fd = file_of(PAGE);
    char *window = map_window(fd, 16 * MIB);
    _Atomic int *grown = shared_memory(PAGE);
    pid_t pid = fork_checked();

    if (pid == 0) {
        await_value(grown, 1);
        window[10 * MIB] = 7;
        window[12 * MIB - 1] = 8;
        _exit(0);
    }
    CHECK_EQ(fallocate(fd, 0, 10 * MIB, 2 * MIB), 0);
    atomic_store(grown, 1);
    reap_success(pid);
    CHECK_EQ(window[10 * MIB], 7);
    CHECK_EQ(window[12 * MIB - 1], 8);
    munmap(window, 16 * MIB);
    munmap(AT(grown), PAGE);
    close(fd);
}

TEST(what_a_file_grows_by_reads_as_zero)
{
    int fd = file_of(0);
    char *window = map_window(fd, 4 * MIB);
    size_t i;

    CHECK_EQ(fallocate(fd, 0, 0, 2 * MIB), 0);
    for (i = 0; i < 2 * MIB; i += 512)
        CHECK_EQ(window[i], 0);
    munmap(window, 4 * MIB);
    close(fd);
}

TEST_SIGNAL(memory_beyond_the_end_of_the_file_is_sigbus, SIGBUS)
{
    int fd = file_of(PAGE);
    volatile char *window = map_window(fd, 2 * PAGE);

    /* A sanitizer would report the signal and exit. */
    signal(SIGBUS, SIG_DFL);
    window[0] = 1;
    window[PAGE] = 1;
}

TEST(a_fixed_mapping_without_replacement_refuses_an_occupied_range)
{
    int fd = file_of(PAGE);
    char *window = map_window(fd, 4 * PAGE);

    CHECK(mmap(window + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE,
               fd, 0) == MAP_FAILED);
    CHECK_EQ(errno, EEXIST);
    CHECK_EQ(munmap(window + PAGE, PAGE), 0);
    CHECK(mmap(window + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE,
               fd, 0) == window + PAGE);
    munmap(window, 4 * PAGE);
    close(fd);
}

TEST(a_window_of_64_gib_on_a_small_file_costs_nothing)
{
    int fd = file_of(PAGE);
    long before = resident_kib();
    char *window = map_window(fd, WINDOW);
    struct stat status;

    window[0] = 1;
    /* Generous: what counts is that it is not in proportion. */
    CHECK_LT(resident_kib() - before, 1024);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_blocks * 512, PAGE);
    munmap(window, WINDOW);
    close(fd);
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
TEST(the_range_from_which_the_root_chooses_its_address_is_free)
{
    static const uintptr_t places[] = {0x200000000000, 0x380000000000,
                                       0x4ff000000000};
    int fd = file_of(PAGE);
    size_t i;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        void *place = (void *)places[i];

        CHECK(mmap(place, WINDOW, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd,
                   0) == place);
        munmap(place, WINDOW);
    }
    close(fd);
}
#endif

/* The signal, blocked, can be taken back before anybody sees it. */
TEST(beyond_the_limit_of_file_sizes_fallocate_is_efbig_and_a_signal)
{
    int fd = file_of(PAGE);
    pid_t pid = fork_checked();

    if (pid == 0) {
        struct rlimit limit = {MIB, MIB};
        struct timespec now = {0, 0};
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
        CHECK_EQ(fallocate(fd, 0, 0, 2 * MIB), -1);
        CHECK_EQ(errno, EFBIG);
        CHECK_EQ(sigtimedwait(&set, NULL, &now), SIGXFSZ);
        /* Unblocked again, the default action does not end us. */
        CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
        _exit(0);
    }
    reap_success(pid);
    close(fd);
}

/* The address space that this process has mapped, in bytes: a sanitizer's
 * terabytes are part of it. */
static rlim_t
address_space(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages;

    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void
ignore(int number)
{
    (void)number;
}

/* Newer kernels do not let a signal interrupt it unless it kills. */
TEST(a_fallocate_that_a_signal_interrupts_has_undone_all)
{
    static const struct itimerval often = {{0, 100}, {0, 100}};
    static const struct itimerval never;
    struct sigaction action = {.sa_handler = ignore};
    int fd = file_of(0);
    struct stat st;

    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    for (int i = 0; i < 20; i++) {
        int error;

        CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
        error = fallocate(fd, 0, 0, (off_t)(32 * MIB)) == 0 ? 0 : errno;
        CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
        CHECK_EQ(fstat(fd, &st), 0);
        if (error == 0) {
            CHECK_EQ(st.st_size, (off_t)(32 * MIB));
            CHECK_EQ(ftruncate(fd, 0), 0);
            continue;
        }
        CHECK_EQ(error, EINTR);
        CHECK_EQ(st.st_size, 0);
        CHECK_EQ(st.st_blocks, 0);
    }
    close(fd);
}

TEST(under_a_limit_of_address_space_a_large_window_is_enomem)
{
    int fd = file_of(PAGE);
    pid_t pid = fork_checked();

    if (pid == 0) {
        rlim_t most = address_space() + ((rlim_t)1 << 30);
        struct rlimit limit = {most, most};

        CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
        CHECK(mmap(NULL, WINDOW, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE, fd, 0) == MAP_FAILED);
        CHECK_EQ(errno, ENOMEM);
        map_window(fd, 64 * MIB);
        _exit(0);
    }
    reap_success(pid);
    close(fd);
}

TEST(pages_can_be_kept_out_of_core_dumps)
{
    int fd = file_of(PAGE);
    char *window = map_window(fd, PAGE);
    bool inside = false, found = false;
    char line[512];
    FILE *file;

    CHECK_EQ(madvise(window, PAGE, MADV_DONTDUMP), 0);
    file = fopen("/proc/self/smaps", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from == (unsigned long)window;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(file);
    CHECK(found);
    munmap(window, PAGE);
    close(fd);
}

TEST(freed_pages_of_the_file_go_back_and_read_as_zero)
{
    int fd = file_of(0);
    struct stat status;
    char *window;

    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    CHECK_EQ(fallocate(fd, 0, 0, 2 * MIB), 0);
    window = map_window(fd, 2 * MIB);
    memset(window, 1, 2 * MIB);
    CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       (off_t)MIB, (off_t)MIB),
             0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ((size_t)status.st_size, 2 * MIB);
    CHECK_EQ((size_t)status.st_blocks * 512, MIB);
    CHECK_EQ(window[MIB - 1], 1);
    CHECK_EQ(window[MIB], 0);
    munmap(window, 2 * MIB);
    close(fd);
}
