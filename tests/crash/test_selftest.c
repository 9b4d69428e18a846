/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

TEST_TIMEOUT(the_engine_passes_a_sound_toy_and_finds_every_planted_bug, 300)
{
    char *arguments[] = {(char[]){"crash-selftest"}, NULL};

    run_beside("crash-selftest", arguments);
}

TEST_TIMEOUT(the_engine_reaches_every_instruction_of_a_sound_toy, 300)
{
    char *arguments[] = {(char[]){"crash-selftest"}, (char[]){"--brute"}, NULL};

    run_beside("crash-selftest", arguments);
}
