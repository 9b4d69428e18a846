/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test leaves behind outside of any process: files in its TMPDIR and
 * names in /dev/shm. Where the runner may, it takes a /dev/shm of its own, so
 * that whatever stands there is the test's. Elsewhere the folder is shared
 * with all programs of the machine, and a new name counts only if no living
 * process uses it: when this is looked at, those of the test are dead.
 */
#include "harness_internal.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHM "/dev/shm"

struct names {
    char **items;
    size_t count;
};

static struct names before;
static bool shm_is_private;

/* Set while the runner starts itself again: whether there is a new /dev/shm. */
#define MOUNTED "TROUPE_HARNESS_MOUNTED"

static bool
mount_shm(void)
{
    /* first of all keep what follows from spreading to the whole machine */
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", SHM, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") == 0;
}

/*
 * What was mapped and opened before belongs to the old mounts, and in a chroot
 * its path could no longer be told: so the program starts anew in the new ones.
 */
void
harness_places_prepare(char **argv)
{
    const char *mounted = getenv(MOUNTED);
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (mounted != NULL) {
        shm_is_private = strcmp(mounted, "yes") == 0;
        (void)unsetenv(MOUNTED);
        return;
    }
    if (length > 0 && unshare(CLONE_NEWNS) == 0) {
        path[length] = '\0';
        (void)setenv(MOUNTED, mount_shm() ? "yes" : "no", 1);
        (void)execv(path, argv);
        perror("harness: exec");
        exit(EXIT_FAILURE);
    }
}

static void *
must(void *memory)
{
    if (memory == NULL) {
        perror("harness");
        abort();
    }
    return memory;
}

static void
forget(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
    *names = (struct names){.count = 0};
}

static void
list(struct names *names)
{
    DIR *directory = opendir(SHM);
    const struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        names->items = must(reallocarray(names->items, names->count + 1,
                                         sizeof(*names->items)));
        names->items[names->count++] =
            harness_print("%s/%s", SHM, entry->d_name);
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
}

static bool
contains(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
is_mine(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && status.st_uid == geteuid();
}

static bool
file_mentions(const char *file_path, const char *word)
{
    char line[1024];
    bool found = false;
    FILE *file = fopen(file_path, "re");

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strstr(line, word) != NULL;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

static bool
fd_points_to(const char *pid, const char *path)
{
    char *fds = harness_print("/proc/%s/fd", pid);
    DIR *directory = opendir(fds);
    const struct dirent *entry;
    bool found = false;

    while (directory != NULL && !found &&
           (entry = readdir(directory)) != NULL) {
        char link[512];
        ssize_t length =
            readlinkat(dirfd(directory), entry->d_name, link, sizeof(link) - 1);

        if (length > 0) {
            link[length] = '\0';
            found = strcmp(link, path) == 0;
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    free(fds);
    return found;
}

/* Whether a living process has the file open or mapped. */
static bool
in_use(const char *path)
{
    DIR *directory = opendir("/proc");
    const struct dirent *entry;
    bool found = false;

    while (directory != NULL && !found &&
           (entry = readdir(directory)) != NULL) {
        char *maps;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') {
            continue;
        }
        maps = harness_print("/proc/%s/maps", entry->d_name);
        found = file_mentions(maps, path) || fd_points_to(entry->d_name, path);
        free(maps);
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return found;
}

void
harness_places_begin(void)
{
    forget(&before);
    list(&before);
}

/* A stranger's name may be between its creation and its first use. */
static bool
is_left(const char *path)
{
    const struct timespec moment = {.tv_nsec = 10000000};

    for (int i = 0; i < 50 && !shm_is_private; i++) {
        if (!is_mine(path) || in_use(path)) {
            return false;
        }
        (void)nanosleep(&moment, NULL);
    }
    return true;
}

static char *
find_left(void)
{
    struct names now = {.count = 0};
    char *found = NULL;

    list(&now);
    for (size_t i = 0; i < now.count; i++) {
        const char *path = now.items[i];

        if (!contains(&before, path) && is_left(path)) {
            free(found);
            found = harness_print("residue: %s left behind", path);
            (void)unlink(path);
        }
    }
    forget(&now);
    return found;
}

static char *found_in_tmpdir;

static int
note_entry(const char *path, const struct stat *status, int type,
           struct FTW *place)
{
    (void)status;
    (void)type;
    if (place->level == 0) {
        return 0;
    }
    found_in_tmpdir = harness_print("residue: file %s left in TMPDIR",
                                    path + strlen(harness_current_tmpdir) + 1);
    return 1;
}

static int
remove_entry(const char *path, const struct stat *status, int type,
             struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    if (remove(path) != 0) {
        (void)fprintf(stderr, "harness: cannot remove %s: %s\n", path,
                      strerror(errno));
    }
    return 0;
}

void
harness_remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

char *
harness_places_end(void)
{
    found_in_tmpdir = NULL;
    (void)nftw(harness_current_tmpdir, note_entry, 16, FTW_PHYS);
    if (found_in_tmpdir != NULL) {
        return found_in_tmpdir;
    }
    return find_left();
}
