/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_main.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 64 };

struct memory_files {
    ino_t inodes[FILES_MAX];
    unsigned count;
    uint64_t bytes;
};

static int
is_known(const struct memory_files *files, ino_t inode)
{
    unsigned i;

    for (i = 0; i < files->count; i++) {
        if (files->inodes[i] == inode)
            return 1;
    }
    return 0;
}

static void
count_open_files(struct memory_files *files)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    bench_check(directory, "/proc/self/fd: %s", strerror(errno));
    while ((entry = readdir(directory))) {
        char target[256];
        struct stat status;
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target,
                                    sizeof target - 1);

        if (length <= 0)
            continue;
        target[length] = 0;
        if (strncmp(target, "/memfd:", 7) != 0 ||
            fstat(atoi(entry->d_name), &status) != 0 ||
            is_known(files, status.st_ino))
            continue;
        bench_check(files->count < FILES_MAX, "too many files");
        files->inodes[files->count++] = status.st_ino;
        files->bytes += (uint64_t)status.st_blocks * 512;
    }
    closedir(directory);
}

/* Shared memory of any other kind, or out of sight, is not to be missed. */
static void
check_mappings(const struct memory_files *files)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    bench_check(maps, "/proc/self/maps: %s", strerror(errno));
    while (fgets(line, sizeof line, maps)) {
        char permissions[8];
        char path[256] = "";
        unsigned long long inode;

        if (sscanf(line, "%*s %7s %*s %*s %llu %255s", permissions, &inode,
                   path) < 2)
            continue;
        if (!strchr(permissions, 's') || strcmp(path, "/dev/zero") == 0)
            continue;
        bench_check(is_known(files, (ino_t)inode),
                    "shared memory that is not counted: %s", path);
    }
    fclose(maps);
}

static void
be_idle(struct bench_team *team, struct bench_cell *cell, unsigned index,
        void *context)
{
    const struct memory_system *system = context;

    (void)cell;
    (void)index;
    system->join();
    bench_team_ready(team);
}

void
memory_main(const struct memory_system *system, int argc, char **argv)
{
    struct memory_files files = {0};
    struct bench_arguments arguments;
    struct bench_team team;
    unsigned i;

    bench_parse(&arguments, argc, argv);
    system->create();
    system->join();
    bench_team_init(&team);
    for (i = 1; i < arguments.processes; i++)
        bench_team_add(&team, be_idle, (void *)(uintptr_t)system, -1);
    bench_team_wait_ready(&team);
    count_open_files(&files);
    check_mappings(&files);
    bench_team_run(&team, 0);
    bench_team_join(&team);
    bench_report("B", (double)files.bytes);
}
