/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program that was built beside this one. */
#ifndef TROUPE_TESTS_CRASH_PROGRAM_H
#define TROUPE_TESTS_CRASH_PROGRAM_H

#include "harness.h"

#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The program must exit with 0; what it prints is the test's output. */
static inline void
run_beside(const char *name, char *const *arguments)
{
    extern char **environ;
    char path[PATH_MAX], program[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    char *slash;
    int status;
    pid_t pid;

    CHECK_GT(length, 0);
    path[length] = '\0';
    slash = strrchr(path, '/');
    CHECK(slash != NULL);
    *slash = '\0';
    snprintf(program, sizeof(program), "%s/%s", path, name);
    CHECK_EQ(posix_spawn(&pid, program, NULL, NULL, arguments, environ), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

#endif
