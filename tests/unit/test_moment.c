/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pid and a moment name a process.
 */
#include "harness.h"

#include "os/task.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(moment_of_a_living_process_names_it)
{
    int32_t pid = troupe__task_pid();
    uint64_t moment = troupe__task_moment();

    CHECK_GE(moment, troupe__task_start_time(pid));
    CHECK(!troupe__task_ended(pid, moment));
    CHECK(!troupe__task_ended(pid, 0));
}

TEST(moment_before_the_start_means_a_former_holder_of_the_pid)
{
    int32_t pid = troupe__task_pid();

    CHECK_GT(troupe__task_start_time(pid), 1u);
    CHECK(troupe__task_ended(pid, troupe__task_start_time(pid) - 1));
}

TEST(moment_of_an_ended_process_is_no_life)
{
    siginfo_t info;
    uint64_t moment;
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            (void)pause();
    CHECK_GT(pid, 0);
    moment = troupe__task_moment();
    CHECK(!troupe__task_ended(pid, moment));
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    CHECK(troupe__task_ended(pid, moment));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK(troupe__task_ended(pid, moment));
}
