# SPDX-License-Identifier: Apache-2.0
"""The rows of the benchmark: what is measured of whom, and what is to be
reached.

A target is "[<=|>=] R x SYSTEM", several joined by "; ". SYSTEM is a system of
the same case, or "best peer": the best real one, yardsticks left out. A bare
"R x best peer" means "at least as good as", in the direction of the case.

A row or case lists in `needs` the functions of the library that it measures,
or files of the project. While a function is not exported (src/troupe.map), or
a file not there, the library's own programs are left out; from then on they
are wanted, and a run without them fails. The same holds for the rows in
NOT_YET, for which nobody has written programs.
"""

import re
from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB

TROUPE = "troupe"


@dataclass
class Case:
    name: str
    unit: str
    better: str
    systems: dict  # name -> command
    target: str
    needs: tuple = ()
    rounds: int = 0  # 0: as the run has it
    milliseconds: int = 0
    quick_rounds: int = 0
    quick_milliseconds: int = 0


@dataclass
class Row:
    name: str
    about: str
    needs: tuple
    cases: list = field(default_factory=list)


def sized(size):
    if size >= MIB:
        return f"{size // MIB}MiB"
    if size >= KIB:
        return f"{size // KIB}KiB"
    return f"{size}B"


def command(program, *options, **named):
    """A program of build/bench, or a script, with its --name value pairs."""
    line = [program, *options]
    for name, value in named.items():
        line += ["--" + name.replace("_", "-"), str(value)]
    return line


# Locks.

def locks(**named):
    return {
        TROUPE: command("lock_troupe", **named),
        "pthread-plain": command("lock_pthread", system="pthread-plain",
                                 **named),
        "pthread-robust": command("lock_pthread", system="pthread-robust",
                                  **named),
        "boost": command("lock_boost", **named),
        "python": command("peer_lock.py", **named),
        "yardstick:futex": command("lock_futex", **named),
    }


LOCK_NEEDS = ("troupe_lock_acquire", "troupe_lock_release")

LOCK_UNCONTENDED = Row(
    "lock_uncontended", "take a lock and give it back, nobody else near",
    LOCK_NEEDS,
    [Case("one-process", "ns", "lower", locks(mode="uncontended"),
          "<= 0.65 x pthread-plain; <= 1.15 x yardstick:futex")])

LOCK_CONTENDED = Row(
    "lock_contended", "take, count up two words, give back; nothing else",
    LOCK_NEEDS)
for count, share in ((2, "1.0"), (8, "0.9"), (32, "0.9")):
    LOCK_CONTENDED.cases += [
        Case(f"{count}-processes", "op/s", "higher",
             locks(mode="contended", processes=count),
             f">= {share} x best peer"),
        Case(f"{count}-processes,fairness", "index", "higher",
             locks(mode="fairness", processes=count) |
             {"yardstick:ticket": command("lock_ticket", mode="fairness",
                                          processes=count),
              "yardstick:equal-shares": command("lock_equal")},
             ">= 0.85 x yardstick:equal-shares", rounds=3, milliseconds=1000,
             quick_rounds=1, quick_milliseconds=1000)]


# Wake-ups.

WAKE = Row("wake", "wake a process that sleeps", ())
for primitive, needs in (("event", ("troupe_event_set",
                                    "troupe_event_wait")),):
    for placement in ("one", "two"):
        WAKE.cases.append(Case(
            f"{primitive},{placement}-core", "us", "lower", {
                TROUPE: command("wake_troupe", system=primitive,
                                placement=placement),
                "eventfd": command("wake_peers", system="eventfd",
                                   placement=placement),
                "sem": command("wake_peers", system="sem",
                               placement=placement),
                "pthread-cond": command("wake_peers", system="pthread-cond",
                                        placement=placement),
                "python": command("peer_wake.py", mode=primitive,
                                  placement=placement),
                "yardstick:futex": command("wake_peers",
                                           system="yardstick:futex",
                                           placement=placement),
            }, "<= 1.1 x yardstick:futex; <= 0.25 x python", needs=needs))


# Queues.

QUEUE_NEEDS = ("troupe_queue_new", "troupe_queue_put", "troupe_queue_get")


def queues(*names, **named):
    every = {
        TROUPE: command("queue_troupe", **named),
        "boost": command("queue_boost", **named),
        "zeromq": command("queue_zeromq", **named),
        "nng": command("queue_nng", **named),
        "pipe": command("queue_file", system="pipe", **named),
        "unix-stream": command("queue_file", system="unix-stream", **named),
        "unix-seqpacket": command("queue_file", system="unix-seqpacket",
                                  **named),
        "posix-mq": command("queue_posix_mq", **named),
        "python": command("peer_queue.py", **named),
        "yardstick:spsc": command("queue_spsc", **named),
        "yardstick:futex": command("queue_mailbox", system="yardstick:futex",
                                   **named),
        "yardstick:spin": command("queue_mailbox", system="yardstick:spin",
                                  **named),
    }
    return {name: every[name] for name in (TROUPE, *names)}


QUEUE_1TO1 = Row("queue_1to1", "one producer, one consumer", QUEUE_NEEDS)
for size in (8, 64):
    for placement in ("one", "two"):
        options = {"mode": "throughput", "size": size, "placement": placement}
        QUEUE_1TO1.cases += [
            Case(f"{sized(size)},{placement}-core", "msg/s", "higher",
                 queues("boost", "zeromq", "nng", "pipe", "posix-mq",
                        "python", "yardstick:spsc", **options),
                 "1.5 x best peer"),
            # The same, the queue being told that there is one of each.
            Case(f"{sized(size)},{placement}-core,spsc", "msg/s", "higher",
                 {TROUPE: command("queue_troupe", system="spsc", **options)} |
                 {"yardstick:spsc": command("queue_spsc", **options)},
                 ">= 0.6 x yardstick:spsc")]

QUEUE_LARGE = Row("queue_large", "large messages, copied", QUEUE_NEEDS)
for size in (KIB, 64 * KIB, MIB):
    QUEUE_LARGE.cases.append(Case(
        sized(size), "msg/s", "higher",
        queues("boost", "zeromq", "nng", "pipe", "posix-mq", "python",
               "unix-seqpacket", "yardstick:spsc", mode="throughput",
               size=size, placement="two"),
        ">= 1.0 x best peer"))

QUEUE_ZERO_COPY = Row(
    "queue_zero_copy", "large blocks that need not be copied",
    (*QUEUE_NEEDS, "troupe_queue_reserve", "troupe_queue_peek"))
for size in (64 * KIB, MIB, 64 * MIB):
    systems = queues("pipe", "unix-stream", mode="hand-over", size=size,
                     placement="two")
    targets = []
    if size == MIB:
        targets.append(">= 50 x pipe")
    if size > 64 * KIB:
        # Flat in size: a small block's rate, measured beside it.
        systems["yardstick:troupe-64KiB"] = command(
            "queue_troupe", mode="hand-over", size=64 * KIB, placement="two")
        targets.append(">= 0.5 x yardstick:troupe-64KiB")
    QUEUE_ZERO_COPY.cases += [
        Case(f"{sized(size)},hand-over", "hand-over/s", "higher", systems,
             "; ".join(targets) or ">= 1.0 x best peer"),
        Case(f"{sized(size)},filled-and-read", "msg/s", "higher",
             queues("pipe", "unix-stream", mode="filled", size=size,
                    placement="two"),
             ">= 2 x pipe")]

QUEUE_MPMC = Row("queue_mpmc",
                 "several producers and consumers, 64 B or as said",
                 QUEUE_NEEDS)
for count in (2, 4, 16):
    systems = queues("boost", "zeromq", "pipe", "python", mode="throughput",
                     size=64, producers=count, consumers=count)
    target = "1.5 x best peer"
    if count > 2:
        # No collapse when there are more processes than cores.
        systems["yardstick:troupe-2:2"] = command(
            "queue_troupe", mode="throughput", size=64, producers=2,
            consumers=2)
        target += "; >= 0.5 x yardstick:troupe-2:2"
    QUEUE_MPMC.cases.append(Case(f"{count}:{count}", "msg/s", "higher",
                                 systems, target))
for size in (8, KIB, 64 * KIB, MIB):
    # From 1 KiB on what is measured is the copying, as in queue_large.
    QUEUE_MPMC.cases.append(Case(
        f"2:2,{sized(size)}", "msg/s", "higher",
        queues("boost", "zeromq", "pipe", "python", mode="throughput",
               size=size, producers=2, consumers=2),
        "1.5 x best peer" if size < KIB else ">= 1.0 x best peer"))

QUEUE_PING_PONG = Row("queue_ping_pong", "there and back, 64 B", QUEUE_NEEDS)
for placement, target in (("one", "<= 1.2 x yardstick:futex"),
                          ("two", "<= 2 x yardstick:spin")):
    QUEUE_PING_PONG.cases.append(Case(
        f"{placement}-core", "us", "lower",
        queues("pipe", "unix-stream", "python", "yardstick:futex",
               "yardstick:spin", mode="ping-pong", size=64,
               placement=placement), target))


# Processes and pools.

START_JOIN = Row("start_join", "start a process and join it, one by one",
                 ("troupe_process_new", "troupe_process_start",
                  "troupe_process_join"), [
    Case("fork", "us", "lower", {
        TROUPE: command("start_troupe", mode="fork"),
        "fork-wait": command("start_peers", system="fork-wait"),
        "posix-spawn": command("start_peers", system="posix-spawn"),
        "python": command("peer_start.py"),
    }, "<= 1.2 x fork-wait")])

POOL_NEEDS = ("troupe_pool_new", "troupe_pool_map")
EMPTY_TASKS = 1000000

POOL_MAP_EMPTY = Row("pool_map_empty", "a million tasks that do nothing",
                     POOL_NEEDS, [
    Case("10^6-tasks", "task/s", "higher", {
        TROUPE: command("pool_troupe", mode="empty", count=EMPTY_TASKS),
        "openmp-dynamic-1": command("pool_openmp", mode="empty",
                                    count=EMPTY_TASKS),
        "tasks-over-pipes": command("pool_pipes", mode="empty",
                                    count=EMPTY_TASKS),
        "python": command("peer_pool.py", mode="empty", count=EMPTY_TASKS),
    }, ">= 0.5 x openmp-dynamic-1; >= 5 x python")])

POOL_BUSY = Row("pool_busy", "tasks that burn CPU time: ideal time / actual",
                POOL_NEEDS)
for kind, tasks in (("1ms", 600), ("skewed", 2000)):
    POOL_BUSY.cases.append(Case(kind, "efficiency", "higher", {
        TROUPE: command("pool_troupe", mode=kind, count=tasks),
        "openmp-dynamic-1": command("pool_openmp", mode=kind, count=tasks),
        "python": command("peer_pool.py", mode=kind, count=tasks),
    }, ">= 0.98 x openmp-dynamic-1"))


# The main job.

WORDCOUNT = Row(
    "wordcount", "words of 128 MiB of text: two workers, one, no library",
    ("troupe_pool_map", "examples/wordcount.c"), [
    Case("128MiB", "B/s", "higher", {
        TROUPE: command("run_wordcount.py", system="example", processes=2),
        "yardstick:troupe-one-worker": command(
            "run_wordcount.py", system="example", processes=1),
        "yardstick:single-process": command("run_wordcount.py",
                                            system="single"),
    }, ">= 1.8 x yardstick:troupe-one-worker; "
        ">= 1.6 x yardstick:single-process")])


# Memory.

MEMORY = Row("memory", "shared memory of a family that does nothing",
             ("troupe_alloc", "troupe_lock_acquire"), [
    Case("8-members", "B", "lower", {
        TROUPE: command("memory_troupe", processes=8),
        "yardstick:1MiB": command("memory_yardstick", processes=8),
    }, "<= 1 x yardstick:1MiB", rounds=3, milliseconds=1, quick_rounds=1,
        quick_milliseconds=1)])

ROWS = [LOCK_UNCONTENDED, LOCK_CONTENDED, WAKE, QUEUE_1TO1, QUEUE_LARGE,
        QUEUE_ZERO_COPY, QUEUE_MPMC, QUEUE_PING_PONG, START_JOIN,
        POOL_MAP_EMPTY, POOL_BUSY, WORDCOUNT, MEMORY]

# What the library does not have yet, and how the names of the functions begin
# that it will have then. These are guesses; so each function of the library has
# a place: a row above needs it, it begins a row here, or it is in UNMEASURED. A
# new one that has none fails the run, and ./dev check: whoever adds it says
# here what measures it.
NOT_YET = {
    "wake,condition": ("troupe_condition_",),
    "wake,semaphore": ("troupe_semaphore_",),
    "barrier": ("troupe_barrier_",),
    # start methods are values; this is what they ask of a program
    "start_join,spawn": ("troupe_init",),
    "start_join_1gib": ("troupe_init",),
    "pool_apply_async": ("troupe_pool_apply", "troupe_future_"),
    "codec": ("troupe_object_",),
    "connection": ("troupe_connection_",),
    "manager_dict": ("troupe_manager_",),
    "shared_dict": ("troupe_dict_",),
}

# What no row has to measure: a noun with all its functions, where rows measure
# the noun or nobody waits for it; a pool's function by function.
UNMEASURED = re.compile("troupe_(?:" + "|".join((
    "after|after_ns|clock|version|strerror|error_.*|exit|finalizer_.*",
    "log|log_.*|progress_.*|stop_.*|stoppable_.*",
    "alloc|calloc|realloc|strdup|free|usable_size|heap_.*|scope_.*",
    "lock_.*|event_.*|queue_.*|process_.*|task_.*|imap_.*",
    "pool_(?:close|free|imap_unordered|info_get|join|terminate|workers)",
)) + ")")
