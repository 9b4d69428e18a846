# SPDX-License-Identifier: Apache-2.0
"""python: multiprocessing.Lock, measured as lock/lock_loops.h says."""

import time

import common


def uncontended(arguments):
    batch = 4096
    lock = common.context.Lock()
    acquire, release = lock.acquire, lock.release
    samples = []
    common.pin(0)
    end = time.monotonic_ns() + arguments.milliseconds * 1000000
    while time.monotonic_ns() < end:
        before = time.perf_counter_ns()
        for _ in range(batch):
            acquire()
            release()
        samples.append((time.perf_counter_ns() - before) / batch)
    common.report("ns", common.median(samples))


def take_turns(team, index, lock, guarded, counts, ends):
    acquire, release, stop = lock.acquire, lock.release, team.stop
    count = 0
    team.ready()
    while not stop.value:
        acquire()
        guarded[0] += 1
        guarded[1] += 1
        release()
        count += 1
    counts[index] = count
    ends[index] = time.monotonic_ns()


def contended(arguments):
    lock = common.context.Lock()
    processes = arguments.processes
    guarded = common.context.RawArray("Q", 2)
    counts = common.context.RawArray("Q", processes)
    ends = common.context.RawArray("q", processes)
    team = common.Team()
    for i in range(processes):
        team.add(take_turns, i, lock, guarded, counts, ends,
                 cpu=i if processes == 2 else None)
    team.run(arguments.milliseconds)
    team.join()
    total = sum(counts)
    common.check(guarded[0] == guarded[1] == total, "lost updates")
    if arguments.mode == "fairness":
        squares = sum(count * count for count in counts)
        common.report("index", total * total / (squares * processes))
    else:
        common.report("op/s", total / ((max(ends) - team.start) / 1e9))


def main():
    arguments = common.parse("uncontended", "contended", "fairness")
    if arguments.mode == "uncontended":
        uncontended(arguments)
    else:
        contended(arguments)


main()
