/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "os/processors.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(processors_are_those_of_the_affinity_mask_at_most)
{
    cpu_set_t all;
    cpu_set_t one;
    size_t cpu = 0;

    CHECK_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    CHECK_GE(troupe__processors(), 1u);
    CHECK_LE(troupe__processors(), (uint32_t)CPU_COUNT(&all));
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    CHECK_EQ(troupe__processors(), 1u);
}

/* A tree as the kernel shows it. */

static char tree[] = "/tmp/troupe-groups-XXXXXX";

static void
in_tree(char *path, size_t size, const char *name)
{
    CHECK_LT((size_t)snprintf(path, size, "%s%s", tree, name), size);
}

static void
group_make(const char *name, const char *quota)
{
    char path[200];
    FILE *file;

    in_tree(path, sizeof(path), name);
    if (*name != '\0')
        CHECK_EQ(mkdir(path, 0700), 0);
    if (quota == NULL)
        return;
    CHECK_LT(strlen(path) + sizeof("/cpu.max"), sizeof(path));
    (void)strcat(path, "/cpu.max");
    file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK_GT(fprintf(file, "%s\n", quota), 0);
    CHECK_EQ(fclose(file), 0);
}

static void
group_remove(const char *name)
{
    char path[200];

    in_tree(path, sizeof(path) - sizeof("/cpu.max"), name);
    (void)strcat(path, "/cpu.max");
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    CHECK_EQ(rmdir(path), 0);
}

TEST(processors_are_no_more_than_the_control_groups_pay_for)
{
    CHECK(mkdtemp(tree) != NULL);
    group_make("/a", "300000 100000");
    group_make("/a/b", "150000 100000"); /* one and a half: rounded up */
    group_make("/a/b/none", NULL);
    group_make("/a/b/free", "max 100000");
    group_make("/a/b/less", "20000 100000");
    group_make("/a/b/more", "900000 100000");
    group_make("/a/odd", "100 0");
    group_make("/a/torn", "");
    CHECK_EQ(troupe__processors_quota(tree, "/"), UINT32_MAX);
    CHECK_EQ(troupe__processors_quota(tree, ""), UINT32_MAX);
    CHECK_EQ(troupe__processors_quota(tree, "/a"), 3u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b"), 2u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b/none"), 2u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b/free"), 2u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b/less"), 1u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b/more"), 2u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/b/absent"), 2u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/odd"), 3u);
    CHECK_EQ(troupe__processors_quota(tree, "/a/torn"), 3u);
    group_make("", "100000 100000"); /* the root of a namespace */
    CHECK_EQ(troupe__processors_quota(tree, "/"), 1u);
    CHECK_EQ(troupe__processors_quota(tree, "/a"), 1u);
    group_remove("/a/torn");
    group_remove("/a/odd");
    group_remove("/a/b/more");
    group_remove("/a/b/less");
    group_remove("/a/b/free");
    group_remove("/a/b/none");
    group_remove("/a/b");
    group_remove("/a");
    group_remove("");
}
