/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory from the kernel: the sealed memfd of the heap, its window in the
 * address space, and private pages that a fork child finds zeroed.
 */
#ifndef TROUPE_SRC_OS_MEMORY_H
#define TROUPE_SRC_OS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* An anonymous file, empty, closed on exec, sealed against shrinking. Returns
 * the descriptor or -errno. */
int troupe__memory_file(const char *name);

/* Reserves `size` bytes of address space at `address` for the file, shared,
 * without touching the file: what lies beyond its end is not accessible until
 * the file grows. Never replaces a mapping. 0; -EEXIST: something is there;
 * -ENOMEM: RLIMIT_AS, RLIMIT_MEMLOCK after mlockall(), or no such address
 * space;
 * -EINVAL: a sanitizer refuses the range. */
int troupe__memory_map(int fd, uint64_t address, uint64_t size, bool core_dump);

void troupe__memory_unmap(uint64_t address, uint64_t size);

/* Makes a range of the window inaccessible. */
int troupe__memory_guard(uint64_t address, uint64_t size);

/*
 * Takes memory for [offset, offset + size) of the file, growing it if need be:
 * afterwards touching it cannot fail. 0; -ENOMEM: the machine, a limit of
 * the process (RLIMIT_FSIZE) or of its cgroup says no; -EBADF: the descriptor
 * is not the file any more. A failure may leave a part of it taken.
 */
int troupe__memory_commit(int fd, uint64_t offset, uint64_t size);

/* Gives memory of the file back; what was in it is zeros from here on. */
void troupe__memory_discard(int fd, uint64_t offset, uint64_t size);

/* Bytes of memory that the file has; 0: it cannot be told. */
uint64_t troupe__memory_taken(int fd);

/* Device and inode of an open file, to tell later whether the descriptor is
 * still that file (a host program may close descriptors it does not know). */
struct troupe__file_id {
    dev_t device;
    ino_t inode;
};

int troupe__memory_file_id(int fd, struct troupe__file_id *ret_id);

/* One page of private memory that is zeroed in a child after fork, by whatever
 * call the child was made. NULL when there is none. */
void *troupe__memory_wiped_page(void);

/* Random bits; from the clock where the kernel has none yet. */
uint64_t troupe__memory_random(void);

/* The RLIMIT_FSIZE of this process. */
uint64_t troupe__memory_file_limit(void);

#define TROUPE__PAGE 4096u

#endif
