# SPDX-License-Identifier: Apache-2.0
"""python: multiprocessing.Queue, as deep as the others, with messages of
bytes; measured as queue/queue_loops.h says."""

import struct
import time

import common

NUMBER_BITS = 48
WORD = (1 << 64) - 1
END = WORD
PING_PONG_BATCH = 16


def mix(word):
    return (word ^ 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd & WORD


class Messages:
    """Stamps and checks as queue/message.h does."""

    def __init__(self, size):
        self.size = size
        self.word = struct.Struct("=Q")
        self.body = bytes(size - 16) if size >= 16 else None

    def stamp(self, word):
        first = self.word.pack(word)
        if self.body is None:
            return first
        return b"".join((first, self.body, self.word.pack(mix(word))))

    def check(self, message):
        common.check(len(message) == self.size, "a short message")
        word, = self.word.unpack_from(message)
        if self.body is not None:
            last, = self.word.unpack_from(message, self.size - 8)
            common.check(last == mix(word), "a message is torn")
        return word


def produce(team, index, arguments, run):
    queue, messages = run["queue"], Messages(arguments.size)
    put, stamp, stop = queue.put, messages.stamp, team.stop
    word = index << NUMBER_BITS
    count = total = 0
    team.ready()
    while not stop.value:
        put(stamp(word))
        total += word
        word += 1
        count += 1
    # What this producer's feeder thread still holds goes before any end.
    queue.close()
    queue.join_thread()
    run["counts"][index] = count
    run["sums"][index] = total & WORD


def end_consumers(arguments, run):
    messages = Messages(arguments.size)
    for _ in range(arguments.consumers):
        run["queue"].put(messages.stamp(END))


def consume(team, index, arguments, run):
    messages = Messages(arguments.size)
    get, check = run["queue"].get, messages.check
    following = [0] * 64
    is_single = arguments.consumers == 1
    mask = (1 << NUMBER_BITS) - 1
    count = total = 0
    team.ready()
    while True:
        word = check(get())
        if word == END:
            break
        producer, number = word >> NUMBER_BITS, word & mask
        expected = following[producer]
        common.check(number == expected if is_single else number >= expected,
                     "out of order")
        following[producer] = number + 1
        total += word
        count += 1
    run["counts"][index] = count
    run["sums"][index] = total & WORD
    run["ends"][index] = time.monotonic_ns()


def cpu_of(arguments, side):
    return {"one": 0, "two": side, "free": None}[arguments.placement]


def throughput(arguments):
    consumers, producers = arguments.consumers, arguments.producers
    members = consumers + producers
    run = {
        "queue": common.context.Queue(common.depth(arguments.size)),
        "counts": common.context.RawArray("Q", members),
        "sums": common.context.RawArray("Q", members),
        "ends": common.context.RawArray("q", members),
    }
    team = common.Team()
    for i in range(consumers):
        team.add(consume, i, arguments, run, cpu=cpu_of(arguments, 1))
    for i in range(consumers, members):
        team.add(produce, i, arguments, run, cpu=cpu_of(arguments, 0))
    team.run(arguments.milliseconds)
    for member in team.members[consumers:]:
        member.join(common.MEMBER_MAX_SECONDS)
    end_consumers(arguments, run)
    team.join()
    counts, sums = run["counts"], run["sums"]
    common.check(sum(counts[:consumers]) == sum(counts[consumers:]) and
                 sum(sums[:consumers]) & WORD == sum(sums[consumers:]) & WORD,
                 "messages lost")
    seconds = (max(run["ends"]) - team.start) / 1e9
    common.report("msg/s", sum(counts[:consumers]) / seconds)


def ping(team, arguments, there, back, samples, count):
    messages = Messages(arguments.size)
    word = 0
    team.ready()
    while not team.stop.value and count.value < len(samples):
        before = time.monotonic_ns()
        for _ in range(PING_PONG_BATCH):
            there.put(messages.stamp(word))
            answer = messages.check(back.get())
            common.check(answer == word ^ WORD, "a wrong answer")
            word += 1
        elapsed = time.monotonic_ns() - before
        samples[count.value] = elapsed / 1e3 / PING_PONG_BATCH
        count.value += 1
    there.put(messages.stamp(END))


def pong(team, arguments, there, back):
    messages = Messages(arguments.size)
    team.ready()
    while True:
        word = messages.check(there.get())
        if word == END:
            break
        back.put(messages.stamp(word ^ WORD))


def ping_pong(arguments):
    there, back = common.context.Queue(), common.context.Queue()
    samples = common.context.RawArray("d", 1 << 14)
    count = common.context.RawValue("Q", 0)
    team = common.Team()
    team.add(pong, arguments, there, back, cpu=cpu_of(arguments, 1))
    team.add(ping, arguments, there, back, samples, count,
             cpu=cpu_of(arguments, 0))
    team.run(arguments.milliseconds)
    team.join()
    common.report("us", common.median(samples[:count.value]))


def main():
    arguments = common.parse("throughput", "ping-pong")
    if arguments.mode == "throughput":
        throughput(arguments)
    else:
        ping_pong(arguments)


main()
