/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descendants of the runner. It is a subreaper, so whatever a test starts
 * stays below it, in whatever session or process group.
 */
#include "harness_internal.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct process {
    pid_t pid;
    pid_t parent;
    char state;
    unsigned flags;
    char command[32];
    bool below;
};

struct process_list {
    struct process *items;
    size_t count;
};

/* The kernel's mark of a process that is on its way out. */
#define PF_EXITING 0x00000004U

static bool
read_process(const char *pid, struct process *process)
{
    char path[64];
    char line[512];
    size_t length;
    const char *open;
    const char *close;
    FILE *file;
    int parent;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    length = fread(line, 1, sizeof(line) - 1, file);
    (void)fclose(file);
    line[length] = '\0';
    /* the name may hold anything, also parentheses and spaces */
    open = strchr(line, '(');
    close = strrchr(line, ')');
    if (open == NULL || close == NULL ||
        sscanf(close + 1, " %c %d %*d %*d %*d %*d %u", &process->state, &parent,
               &process->flags) != 3) {
        return false;
    }
    (void)snprintf(process->command, sizeof(process->command), "%.*s",
                   (int)(close - open - 1), open + 1);
    process->pid = (pid_t)strtol(pid, NULL, 10);
    process->parent = parent;
    process->below = parent == getpid();
    return true;
}

static void
add_process(struct process_list *list, const struct process *process)
{
    struct process *items =
        reallocarray(list->items, list->count + 1, sizeof(*items));

    if (items == NULL) {
        perror("harness");
        abort();
    }
    list->items = items;
    list->items[list->count++] = *process;
}

static bool
parent_is_below(const struct process_list *list, const struct process *process)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].pid == process->parent) {
            return list->items[i].below;
        }
    }
    return false;
}

/* Lists all processes and marks those below this one. The caller frees. */
static struct process_list
list_processes(void)
{
    struct process_list list = {.count = 0};
    struct process process;
    DIR *directory = opendir("/proc");
    const struct dirent *entry;
    bool more = true;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            read_process(entry->d_name, &process)) {
            add_process(&list, &process);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    while (more) {
        more = false;
        for (size_t i = 0; i < list.count; i++) {
            if (!list.items[i].below &&
                parent_is_below(&list, &list.items[i])) {
                list.items[i].below = true;
                more = true;
            }
        }
    }
    return list;
}

/* A process that was killed, and only needs time to die, is no residue. */
static bool
is_dying(const struct process *process)
{
    char path[64];
    char line[256];
    bool dying = process->state == 'Z' || process->state == 'X' ||
                 (process->flags & PF_EXITING) != 0;
    FILE *file;

    if (dying) {
        return true;
    }
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)process->pid);
    file = fopen(path, "re");
    if (file == NULL) {
        return true;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long mask;

        if ((sscanf(line, "SigPnd: %llx", &mask) == 1 ||
             sscanf(line, "ShdPnd: %llx", &mask) == 1) &&
            (mask & (1ULL << (SIGKILL - 1))) != 0) {
            dying = true;
        }
    }
    (void)fclose(file);
    return dying;
}

char *
harness_describe_living(pid_t except)
{
    struct process_list list = list_processes();
    char *text = NULL;

    for (size_t i = 0; i < list.count; i++) {
        const struct process *process = &list.items[i];
        char *longer;

        if (!process->below || process->pid == except || is_dying(process)) {
            continue;
        }
        longer = harness_print("%s%s%d (%s, state %c)", text ? text : "",
                               text ? ", " : "", (int)process->pid,
                               process->command, process->state);
        free(text);
        text = longer;
    }
    free(list.items);
    return text;
}

static void
kill_all_below(pid_t group)
{
    struct process_list list = list_processes();

    (void)kill(-group, SIGKILL);

    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].below && list.items[i].state != 'Z') {
            (void)kill(list.items[i].pid, SIGKILL);
        }
    }
    free(list.items);
}

/*
 * Kills and reaps until there is no child left: what forks while it is being
 * looked for is found in the next round, or stays in the test's group.
 */
void
harness_kill_tree(pid_t group)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int round = 0; round < 10000; round++) {
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0) {
        }
        if (pid < 0 && errno == ECHILD) {
            return;
        }
        kill_all_below(group);
        (void)nanosleep(&moment, NULL);
    }
    (void)fprintf(stderr, "harness: some processes cannot be killed\n");
}
