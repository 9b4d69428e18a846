/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices when a victim changes memory that outlives it.
 *
 * The stage has the same mappings as the victim, so it compares them with a
 * copy of its own.  Only pages present in the victim's page table can have
 * been written by it (fork does not copy the entries of a shared mapping), and
 * only those that the file has can be present: a window of many GiB on a
 * sparse file costs no more than what is in it.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    MAX_REGIONS = 32,
    PAGE_SHIFT = 12,
    PAGE = 1 << PAGE_SHIFT,
    BATCH = 1024 /* pages looked up at once */
};

struct region {
    const char *base;
    size_t size;
    off_t offset; /* in the file */
    int fd;       /* the file, opened by us */
    char *copy;   /* as large; pages that were holes stay zero */
};

static struct region regions[MAX_REGIONS];
static unsigned region_count;
static int pagemap = -1;
static const void *robust_head;
static uint64_t robust_copy[3];

/* Opens the mapped file anew: seeking must not move anybody's position. */
static int
open_file(unsigned long from, unsigned long to, unsigned long inode)
{
    char path[96];
    int fd;

    for (fd = 3; fd < 1024; fd++) {
        struct stat status;

        if (fstat(fd, &status) != 0 || status.st_ino != inode ||
            !S_ISREG(status.st_mode))
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return open(path, O_RDWR | O_CLOEXEC);
    }
    snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", from, to);
    return open(path, O_RDWR | O_CLOEXEC);
}

/* The next stretch of the region that the file has, from *from on. */
static bool
next_stretch(const struct region *region, size_t *from, size_t *to)
{
    off_t start, end;

    if (*from >= region->size)
        return false;
    start = lseek(region->fd, region->offset + (off_t)*from, SEEK_DATA);
    if (start < 0)
        return false;
    end = lseek(region->fd, start, SEEK_HOLE);
    if (end < 0)
        return false;
    start -= region->offset;
    end -= region->offset;
    if ((size_t)start >= region->size)
        return false;
    *from = (size_t)start & ~(size_t)(PAGE - 1);
    *to = ((size_t)end + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (*to > region->size)
        *to = region->size;
    return *to > *from;
}

static void
region_add(unsigned long start, unsigned long end, unsigned long offset,
           unsigned long inode)
{
    struct region *region = &regions[region_count];
    size_t from = 0, to;

    if (region_count == MAX_REGIONS) {
        engine_error("more than %d shared mappings", MAX_REGIONS);
        return;
    }
    region->base = (const char *)start;
    region->size = end - start;
    region->offset = (off_t)offset;
    region->fd = open_file(start, end, inode);
    if (region->fd < 0) {
        engine_error("the file mapped at %lx cannot be opened: %s", start,
                     strerror(errno));
        return;
    }
    region->copy = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->copy == MAP_FAILED) {
        engine_error("no room to copy a shared mapping");
        return;
    }
    for (; next_stretch(region, &from, &to); from = to)
        memcpy(region->copy + from, region->base + from, to - from);
    region_count++;
}

void
shared_begin(pid_t victim)
{
    char path[64], line[512];
    size_t length;
    FILE *maps;

    region_count = 0;
    maps = fopen("/proc/self/maps", "re");
    if (maps == NULL) {
        engine_error("/proc/self/maps: %s", strerror(errno));
        return;
    }
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to, offset, inode;
        char mode[5];

        if (sscanf(line, "%lx-%lx %4s %lx %*s %lu", &from, &to, mode, &offset,
                   &inode) != 5)
            continue;
        if (mode[1] != 'w' || mode[3] != 's' ||
            control_owns((const void *)from))
            continue;
        region_add(from, to, offset, inode);
    }
    fclose(maps);
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)victim);
    pagemap = open(path, O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        engine_error("%s: %s", path, strerror(errno));
    robust_head = NULL;
    if (syscall(SYS_get_robust_list, victim, &robust_head, &length) != 0)
        robust_head = NULL;
    memset(robust_copy, 0, sizeof(robust_copy));
    shared_changed(victim);
}

static bool
page_changed(struct region *region, size_t at)
{
    if (memcmp(region->base + at, region->copy + at, PAGE) == 0)
        return false;
    memcpy(region->copy + at, region->base + at, PAGE);
    return true;
}

static bool
stretch_changed(struct region *region, size_t from, size_t to)
{
    bool changed = false;

    while (from < to) {
        uint64_t map[BATCH];
        size_t pages = (to - from) / PAGE, i;
        off_t at = (off_t)((uintptr_t)(region->base + from) >> PAGE_SHIFT) *
                   (off_t)sizeof(uint64_t);
        ssize_t got;

        if (pages > BATCH)
            pages = BATCH;
        got = pread(pagemap, map, pages * sizeof(uint64_t), at);
        if (got <= 0)
            break;
        pages = (size_t)got / sizeof(uint64_t);
        /* Bits 63 and 62: present, or swapped out. */
        for (i = 0; i < pages; i++)
            if (map[i] >> 62 != 0)
                changed |= page_changed(region, from + i * PAGE);
        from += pages * PAGE;
    }
    return changed;
}

/* The list of held robust locks and the pending one: the kernel acts on it. */
static bool
robust_changed(pid_t victim)
{
    uint64_t now[3];
    struct iovec to = {now, sizeof(now)};
    struct iovec from = {(void *)(uintptr_t)robust_head, sizeof(now)};

    if (robust_head == NULL ||
        process_vm_readv(victim, &to, 1, &from, 1, 0) != sizeof(now) ||
        memcmp(now, robust_copy, sizeof(now)) == 0)
        return false;
    memcpy(robust_copy, now, sizeof(now));
    return true;
}

bool
shared_changed(pid_t victim)
{
    bool changed = robust_changed(victim);
    unsigned i;

    for (i = 0; i < region_count; i++) {
        size_t from = 0, to;

        for (; next_stretch(&regions[i], &from, &to); from = to)
            changed |= stretch_changed(&regions[i], from, to);
    }
    return changed;
}

void
shared_end(void)
{
    unsigned i;

    for (i = 0; i < region_count; i++) {
        munmap(regions[i].copy, regions[i].size);
        close(regions[i].fd);
    }
    region_count = 0;
    if (pagemap >= 0)
        close(pagemap);
    pagemap = -1;
}
