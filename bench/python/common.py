# SPDX-License-Identifier: Apache-2.0
"""What the Python peers share: the command line, pinning, the gate and the
result of common/bench.h, by the means of the standard library."""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time

MEMBER_MAX_SECONDS = 50
RUN_MAX_SECONDS = 60

context = multiprocessing.get_context("fork")


def parse(*modes):
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", default="python")
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--milliseconds", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--producers", type=int, default=1)
    parser.add_argument("--consumers", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--placement", choices=("one", "two", "free"),
                        default="free")
    parser.add_argument("--count", type=int, default=0)
    arguments = parser.parse_args()
    signal.alarm(RUN_MAX_SECONDS)
    return arguments


def cpus():
    """Usable CPUs, the first thread of each core before the second ones."""
    def is_twin(cpu):
        path = f"/sys/devices/system/cpu/cpu{cpu}/topology/" \
               "thread_siblings_list"
        try:
            with open(path, encoding="ascii") as file:
                text = file.read()
        except OSError:
            return False
        return int(text.replace("-", ",").split(",")[0]) != cpu

    return sorted(os.sched_getaffinity(0), key=lambda cpu: (is_twin(cpu), cpu))


def pin(index):
    usable = cpus()
    os.sched_setaffinity(0, {usable[index % len(usable)]})


def depth(size):
    if size <= 4096:
        return (1 << 20) // ((size + 15) // 16 * 16 + 16)
    return max(16, (4 << 20) // size)


def check(condition, message):
    if not condition:
        sys.exit(f"{sys.argv[0]}: failed: {message}")


def report(unit, value):
    check(value > 0, "no result")
    print(json.dumps({"unit": unit, "value": value}))


def median(values):
    values = sorted(values)
    check(values, "no samples")
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) / 2


class Team:
    """Children behind one gate: a pipe whose end of file opens it."""

    def __init__(self):
        self.ready_read, self.ready_write = os.pipe()
        self.gate_read, self.gate_write = os.pipe()
        self.stop = context.RawValue("B", 0)
        self.members = []
        self.waited = 0
        self.start = 0

    def add(self, function, *arguments, cpu=None):
        def run():
            signal.alarm(MEMBER_MAX_SECONDS)
            os.close(self.gate_write)
            if cpu is not None:
                pin(cpu)
            function(self, *arguments)

        member = context.Process(target=run)
        member.start()
        self.members.append(member)

    def ready(self):
        os.write(self.ready_write, b"r")
        os.read(self.gate_read, 1)

    def wait_ready(self):
        while self.waited < len(self.members):
            self.waited += len(os.read(self.ready_read, 64))

    def run(self, milliseconds):
        self.wait_ready()
        self.start = time.monotonic_ns()
        os.close(self.gate_write)
        time.sleep(milliseconds / 1e3)
        self.stop.value = 1

    def join(self):
        for member in self.members:
            member.join(MEMBER_MAX_SECONDS)
            check(member.exitcode == 0, f"{member}")
