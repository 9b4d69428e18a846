/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "os/processors.h"

#include <sched.h>
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
