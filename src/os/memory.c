/* SPDX-License-Identifier: Apache-2.0 */
#include "os/memory.h"

#include "base/math.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
# define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_WIPEONFORK
# define MADV_WIPEONFORK 18
#endif
#ifndef MFD_NOEXEC_SEAL
# define MFD_NOEXEC_SEAL 8U
#endif

int
troupe__memory_file(const char *name)
{
    int fd;
    int fault = TROUPE__FAULT("memfd_create");

    if (fault != 0)
        return -fault;
    /* Some systems refuse memory files that could be executed; kernels before
     * 6.3 do not know the flag. */
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    fd = troupe__fd_above_streams(fd);
    if (fd < 0)
        return fd;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

int
troupe__memory_map(int fd, uint64_t address, uint64_t size, bool core_dump)
{
    int error = TROUPE__FAULT("mmap");
    void *want = (void *)(uintptr_t)address;
    void *got = MAP_FAILED;

    if (error == 0) {
        got = mmap(want, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
        error = errno;
    }
    /* EAGAIN: all memory is to be locked (mlockall), and this is too much. */
    if (got == MAP_FAILED)
        return error == EAGAIN ? -ENOMEM : -error;
    if (got != want) { /* a kernel that does not know the flag: a mere hint */
        munmap(got, size);
        return -EEXIST;
    }
    if (!core_dump)
        (void)madvise(got, size, MADV_DONTDUMP);
    return 0;
}

void
troupe__memory_unmap(uint64_t address, uint64_t size)
{
    (void)munmap((void *)(uintptr_t)address, size);
}

int
troupe__memory_guard(uint64_t address, uint64_t size)
{
    if (mprotect((void *)(uintptr_t)address, size, PROT_NONE) != 0)
        return -errno;
    return 0;
}

uint64_t
troupe__memory_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
        return UINT64_MAX;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/* Not the libc's, which is a cancellation point: memory is taken under
 * locks. */
static long
allocate(int fd, int mode, uint64_t offset, uint64_t size)
{
    return syscall(SYS_fallocate, fd, mode, offset, size);
}

int
troupe__memory_commit(int fd, uint64_t offset, uint64_t size)
{
    uint64_t end = offset + size;
    uint64_t chunk = size;
    struct stat st;
    int fault = TROUPE__FAULT("fallocate");

    if (fault != 0)
        return -fault;
    /* Where the file would grow beyond the limit the kernel also sends SIGXFSZ,
     * which kills a host that knows nothing of it. */
    if (end > troupe__memory_file_limit() &&
        (fstat(fd, &st) != 0 || end > (uint64_t)st.st_size))
        return -ENOMEM;
    while (offset < end) {
        if (chunk > end - offset)
            chunk = end - offset;
        if (allocate(fd, 0, offset, chunk) == 0) {
            offset += chunk;
            continue;
        }
        if (errno != EINTR)
            return -errno;
        /* The kernel has undone all of it. Under signals that come faster than
         * it can do this much, only less at a time gets done ever. */
        if (chunk > TROUPE__PAGE)
            chunk = troupe__round_up(chunk / 2, TROUPE__PAGE);
    }
    return 0;
}

void
troupe__memory_discard(int fd, uint64_t offset, uint64_t size)
{
    long done;

    if (TROUPE__FAULT("fallocate_punch") != 0)
        return;
    do {
        done = allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                        size);
    } while (done != 0 && errno == EINTR);
}

uint64_t
troupe__memory_taken(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

int
troupe__memory_file_id(int fd, struct troupe__file_id *ret_id)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -errno;
    ret_id->device = st.st_dev;
    ret_id->inode = st.st_ino;
    return 0;
}

void *
troupe__memory_wiped_page(void)
{
    void *page = mmap(NULL, TROUPE__PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, TROUPE__PAGE, MADV_WIPEONFORK) != 0) {
        munmap(page, TROUPE__PAGE);
        return NULL;
    }
    return page;
}

uint64_t
troupe__memory_random(void)
{
    uint64_t bits;

    if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) == sizeof(bits))
        return bits;
    return (uint64_t)troupe__clock_now() * UINT64_C(0x9e3779b97f4a7c15);
}
