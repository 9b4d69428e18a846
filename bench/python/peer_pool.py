# SPDX-License-Identifier: Apache-2.0
"""python: multiprocessing.Pool.map with its default chunks, measured as
pool/pool_work.h says."""

import time

import common

MIX = 0x5bd1e995


def empty(item):
    return item ^ MIX


def burn(item):
    end = time.thread_time_ns() + item
    while time.thread_time_ns() < end:
        pass
    return item ^ MIX


def skewed(index):
    mixed = index * 2654435761 % (1 << 64) % 100
    return 10000000 if mixed == 0 else 1000000 if mixed < 10 else 100000


def main():
    arguments = common.parse("empty", "1ms", "skewed")
    count, mode = arguments.count, arguments.mode
    item_of = {"empty": int, "1ms": lambda _: 1000000, "skewed": skewed}[mode]
    items = [item_of(index) for index in range(count)]
    workers = len(common.cpus())
    task = empty if mode == "empty" else burn
    times = []
    with common.context.Pool(workers) as pool:
        pool.map(empty, range(workers * 4))
        stop = time.monotonic_ns() + arguments.milliseconds * 1000000
        while not times or (mode == "empty" and
                            time.monotonic_ns() < stop):
            before = time.monotonic_ns()
            results = pool.map(task, items)
            times.append(time.monotonic_ns() - before)
            common.check(results == [item ^ MIX for item in items],
                         "a result is wrong")
    took = common.median(times)
    if mode == "empty":
        common.report("task/s", count / (took / 1e9))
    else:
        common.report("efficiency", sum(items) / workers / took)


main()
