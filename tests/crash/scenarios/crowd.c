/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"

#include "common.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 40, GATE_END = CRASH_GATES - 4, WORD_THERE = CRASH_WORDS - 1 };

static pid_t pids[MOST];
static unsigned members;

void
crowd_begin(unsigned count, void (*one)(void))
{
    CRASH_REQUIRE(count <= MOST, CRASH_CORRUPTION, "too many");
    for (members = 0; members < count; members++) {
        pid_t pid = fork();

        CRASH_REQUIRE(pid >= 0, CRASH_CORRUPTION, "fork: %d", errno);
        if (pid == 0) {
            one();
            atomic_fetch_add(crash_word(WORD_THERE), 1);
            crash_gate_wait(GATE_END);
            _exit(0);
        }
        pids[members] = pid;
        while (atomic_load(crash_word(WORD_THERE)) <= members &&
               waitpid(pid, NULL, WNOHANG) == 0)
            sched_yield();
    }
}

void
crowd_end(void)
{
    unsigned i;

    crash_gate_open(GATE_END);
    for (i = 0; i < members; i++)
        while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR) {
        }
    members = 0;
}
