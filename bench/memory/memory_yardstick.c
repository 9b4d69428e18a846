/* SPDX-License-Identifier: Apache-2.0 */
/* yardstick:1MiB: processes that share just that much. */
#include "memory_main.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static unsigned char *shared;

static void
create(void)
{
    int file = memfd_create("bench", MFD_CLOEXEC);

    bench_check(file >= 0 && ftruncate(file, SIZE) == 0, "memfd_create: %s",
                strerror(errno));
    shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    bench_check(shared != MAP_FAILED, "mmap: %s", strerror(errno));
}

static void
join(void)
{
    memset(shared, 1, SIZE);
}

int
main(int argc, char **argv)
{
    static const struct memory_system system = {create, join};

    memory_main(&system, argc, argv);
    return 0;
}
