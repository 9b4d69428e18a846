# SPDX-License-Identifier: Apache-2.0
"""python: multiprocessing.Process with the start method fork, measured as
start/start_loop.h says."""

import sys
import time

import common

STATUS = 7


def target():
    sys.exit(STATUS)


def main():
    arguments = common.parse("fork")
    samples = []
    end = time.monotonic_ns() + arguments.milliseconds * 1000000
    now = time.monotonic_ns()
    while now < end:
        before = now
        process = common.context.Process(target=target)
        process.start()
        process.join()
        common.check(process.exitcode == STATUS, f"{process}")
        process.close()
        now = time.monotonic_ns()
        samples.append((now - before) / 1e3)
    common.report("us", common.median(samples))


main()
