/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork-wait: fork() and waitpid(). posix-spawn: posix_spawn() of this very
 * program, and waitpid().
 */
#include "start_loop.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int
wait_for(pid_t pid)
{
    int status;

    bench_check(waitpid(pid, &status, 0) == pid, "waitpid: %s",
                strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int
fork_one(void)
{
    pid_t pid = fork();

    bench_check(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0)
        _exit(START_STATUS);
    return wait_for(pid);
}

static int
spawn_one(void)
{
    char program[] = "/proc/self/exe";
    char argument[] = "end";
    char *argv[] = {program, argument, NULL};
    pid_t pid;

    bench_check(posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0,
                "posix_spawn");
    return wait_for(pid);
}

int
main(int argc, char **argv)
{
    struct bench_arguments arguments;

    if (argc == 2 && strcmp(argv[1], "end") == 0)
        return START_STATUS;
    bench_parse(&arguments, argc, argv);
    if (strcmp(arguments.system, "fork-wait") == 0)
        start_measure(fork_one, arguments.seconds);
    else if (strcmp(arguments.system, "posix-spawn") == 0)
        start_measure(spawn_one, arguments.seconds);
    else
        bench_die("--system: fork-wait or posix-spawn");
    return 0;
}
