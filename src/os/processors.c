/* SPDX-License-Identifier: Apache-2.0 */
#include "os/processors.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
in_group(const char *tree, const char *path)
{
    char name[2 * PATH_MAX];
    unsigned long long quota;
    unsigned long long period;
    uint32_t count = UINT32_MAX;
    FILE *file;

    if (snprintf(name, sizeof(name), "%s%s/cpu.max", tree, path) >=
        (int)sizeof(name))
        return UINT32_MAX;
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
troupe__processors_quota(const char *tree, const char *group)
{
    uint32_t least = UINT32_MAX;
    char path[PATH_MAX];
    char *slash;

    (void)snprintf(path, sizeof(path), "%s", group);
    /* Every group on the way up has a say; also the root, which in a namespace
     * of its own is a group like any other. */
    for (;;) {
        uint32_t quota = in_group(tree, path);

        if (quota < least)
            least = quota;
        slash = strrchr(path, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

uint32_t
troupe__processors(void)
{
    char group[PATH_MAX];
    uint32_t count = in_mask();
    uint32_t quota;

    group_path(group, sizeof(group));
    quota = troupe__processors_quota("/sys/fs/cgroup", group);
    return quota < count ? quota : count;
}
