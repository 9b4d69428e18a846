# SPDX-License-Identifier: Apache-2.0
"""python: multiprocessing.Event, measured as wake/wake_loop.h says."""

import os
import time

import common


class Shared:
    def __init__(self):
        self.event = common.context.Event()
        # Of the waiter: the round it waits in, the round it was woken in.
        self.waiting = common.context.RawValue("Q", 0)
        self.woken = common.context.RawValue("Q", 0)
        self.payload = common.context.RawValue("Q", 0)
        self.before = common.context.RawValue("q", 0)
        self.waiter = common.context.RawValue("q", 0)
        self.samples = common.context.RawArray("d", 1 << 16)
        self.count = common.context.RawValue("Q", 0)


def payload_of(number):
    return number * 0x9e3779b97f4a7c15 % (1 << 64)


def wait_side(team, shared):
    shared.waiter.value = os.getpid()
    event = shared.event
    team.ready()
    number = 1
    while True:
        shared.waiting.value = number
        event.wait()
        after = time.monotonic_ns()
        payload = shared.payload.value
        if payload == 0:
            break
        common.check(payload == payload_of(number), "woken too early or late")
        count = shared.count.value
        if count < len(shared.samples):
            shared.samples[count] = (after - shared.before.value) / 1e3
            shared.count.value = count + 1
        event.clear()
        shared.woken.value = number
        number += 1


def is_asleep(stat_file):
    text = os.pread(stat_file, 512, 0)
    return text[text.rindex(b")") + 2:][:1] == b"S"


def wake_side(team, shared):
    stat_file = os.open(f"/proc/{shared.waiter.value}/stat", os.O_RDONLY)
    event = shared.event
    team.ready()
    number = 1
    last = False
    while not last:
        last = bool(team.stop.value)
        while shared.waiting.value != number:
            os.sched_yield()
        while not is_asleep(stat_file):
            os.sched_yield()
        shared.payload.value = 0 if last else payload_of(number)
        shared.before.value = time.monotonic_ns()
        event.set()
        while not last and shared.woken.value != number:
            os.sched_yield()
        number += 1


def main():
    arguments = common.parse("event")
    shared = Shared()
    team = common.Team()
    team.add(wait_side, shared, cpu=1 if arguments.placement == "two" else 0)
    team.wait_ready()
    team.add(wake_side, shared, cpu=0)
    team.run(arguments.milliseconds)
    team.join()
    common.report("us", common.median(shared.samples[:shared.count.value]))


main()
