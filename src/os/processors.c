/* SPDX-License-Identifier: Apache-2.0 */
#include "os/processors.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOUNT "/sys/fs/cgroup"

/* Processors in the affinity mask, however many the kernel can have. */
static uint32_t
in_mask(void)
{
    int room;

    for (room = CPU_SETSIZE; room <= 1 << 20; room *= 2) {
        size_t size = CPU_ALLOC_SIZE((size_t)room);
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        int count = 0;
        int error;

        if (set == NULL)
            break;
        error = sched_getaffinity(0, size, set) == 0 ? 0 : errno;
        if (error == 0)
            count = CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (error == 0)
            return count > 0 ? (uint32_t)count : 1;
        if (error != EINVAL) /* EINVAL: the mask is larger */
            break;
    }
    return 1;
}

/* What one control group pays for; UINT32_MAX: no quota. */
static uint32_t
in_group(const char *path)
{
    char name[PATH_MAX + sizeof(MOUNT) + sizeof("/cpu.max")];
    unsigned long long quota;
    unsigned long long period;
    uint32_t count = UINT32_MAX;
    FILE *file;

    (void)snprintf(name, sizeof(name), MOUNT "%s/cpu.max", path);
    file = fopen(name, "re");
    if (file == NULL)
        return UINT32_MAX;
    /* "max 100000" does not begin with a number. */
    if (fscanf(file, "%llu %llu", &quota, &period) == 2 && period != 0 &&
        quota / period < UINT32_MAX)
        count = (uint32_t)((quota + period - 1) / period);
    (void)fclose(file);
    return count == 0 ? 1 : count;
}

/* The path of this process's group; "" when there is none. */
static void
group_path(char *path, size_t size)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");

    path[0] = '\0';
    if (file == NULL)
        return;
    while (getline(&line, &room, file) > 0) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(path, size, "%s", line + 3);
    }
    free(line);
    (void)fclose(file);
}

uint32_t
troupe__processors(void)
{
    char path[PATH_MAX];
    uint32_t count = in_mask();
    char *slash;

    group_path(path, sizeof(path));
    /* Every group on the way up has a say. */
    while ((slash = strrchr(path, '/')) != NULL) {
        uint32_t quota = in_group(path);

        if (quota < count)
            count = quota;
        *slash = '\0';
    }
    return count;
}
