# SPDX-License-Identifier: Apache-2.0
"""Runs the rows of table.py: every system of a case in turn, round after
round; prints medians, spread and ratios, and writes them as JSON lines."""

import argparse
import fnmatch
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import table

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"

REFUSED = 77  # a program's word that this machine does not let it run

# Longer than any run takes; what hangs is ended and counts as failed.
RUN_MAX_SECONDS = 70

ROUNDS, MILLISECONDS = 7, 300
QUICK_ROUNDS, QUICK_MILLISECONDS = 3, 100

# Limits that lie in the system, not in this machine's settings alone: an
# ordinary user, and root in a container, may not raise RLIMIT_MSGQUEUE.
MAY_REFUSE = {("queue_large", "64KiB", "posix-mq"),
              ("queue_large", "1MiB", "posix-mq")}


class Target:
    """One clause of a target, e.g. ">= 0.5 x openmp-dynamic-1"."""

    FORM = re.compile(r"(?:(<=|>=) )?([0-9.]+) x (.+)")

    def __init__(self, text, better):
        match = self.FORM.fullmatch(text)
        if not match:
            raise ValueError(f"not a target: {text!r}")
        self.text = text
        self.relation = match[1] or (">=" if better == "higher" else "<=")
        self.ratio = float(match[2])
        self.system = match[3]
        if not match[1] and better == "lower":
            # "R x best peer" where less is better: R times as good.
            self.ratio = 1 / self.ratio

    def is_met(self, ratio):
        if self.relation == ">=":
            return ratio >= self.ratio
        return ratio <= self.ratio

    def miss(self, ratio):
        """By how much it was missed, as a share of the target."""
        return abs(ratio / self.ratio - 1)


def targets_of(case):
    return [Target(text, case.better) for text in case.target.split("; ")]


def is_peer(system):
    return system != table.TROUPE and not system.startswith("yardstick:")


def best_peer(case, results):
    """The real system with the best median; None when none was measured."""
    peers = [name for name in case.systems
             if is_peer(name) and results.get(name)]
    if not peers:
        return None
    pick = max if case.better == "higher" else min
    return pick(peers, key=lambda name: median_of(results[name]))


def median_of(by_round):
    return statistics.median(by_round.values())


def ratio_of(ours, other):
    """The median over the rounds in which both were measured, or None."""
    ratios = [ours[i] / other[i] for i in ours if i in other]
    return statistics.median(ratios) if ratios else None


def judge(case, results):
    """For each clause: (target, what it was held against, ratio or None)."""
    verdicts = []
    for target in targets_of(case):
        system = target.system
        if system == "best peer":
            system = best_peer(case, results)
        ours = results.get(table.TROUPE)
        other = results.get(system)
        ratio = ratio_of(ours, other) if ours and other else None
        verdicts.append((target, system, ratio))
    return verdicts


def missing_of(row, case, results, wanted, refused):
    """What this case should have measured and has not, in words."""
    missing = []
    for name in wanted:
        if not results.get(name) and \
                not (name in refused and
                     (row.name, case.name, name) in MAY_REFUSE):
            missing.append(f"{row.name} {case.name}: no figure of {name}")
    if table.TROUPE in wanted and results.get(table.TROUPE):
        missing += [f"{row.name} {case.name}: target {target.text!r} cannot "
                    "be judged"
                    for target, _, ratio in judge(case, results)
                    if ratio is None]
    return missing


def json_line(row, case, name, by_round, ours=None):
    """`ratio` is the library's figure by this one, as in the printed table."""
    values = by_round.values()
    return json.dumps({
        "bench": row.name, "case": case.name, "system": name,
        "unit": case.unit, "better": case.better,
        "median": statistics.median(values), "min": min(values),
        "max": max(values), "runs": len(values),
        "target": case.target if name == table.TROUPE else "",
        "ratio": ratio_of(ours, by_round) if ours else None,
    })


def exported_functions(exports):
    """What the library has: the names in its map of symbols."""
    return set(re.findall(r"^\s*(troupe_\w+);", exports.read_text("utf-8"),
                          flags=re.MULTILINE))


def unmeasured_of(exported):
    """Functions for which there should be programs, or nobody said whether
    there should, in words."""
    needed = {name for row in table.ROWS
              for case in row.cases for name in row.needs + case.needs}
    lacks = []
    for function in sorted(exported - needed):
        rows = [row for row, beginnings in table.NOT_YET.items()
                if function.startswith(beginnings)]
        lacks += [f"{row}: the library has {function}(), but no benchmark"
                  for row in rows]
        if not rows and not table.UNMEASURED.fullmatch(function):
            lacks.append(f"{function}(): table.py has no place for it")
    return lacks


class Runner:
    """Runs programs, each in a process group that it does not survive."""

    def __init__(self, build):
        self.build = build
        self.directory = tempfile.mkdtemp(prefix="troupe-bench-")
        self.name = f"troupe-bench-{os.getpid()}"
        self.running = None

    def argv(self, line, milliseconds):
        program, *options = line
        if program.endswith(".py"):
            argv = [PYTHON, "-B", str(HERE / "python" / program)]
        else:
            argv = [str(self.build / "bench" / program)]
        return argv + options + ["--milliseconds", str(milliseconds)]

    def run(self, line, milliseconds):
        """(value, unit), or the reason why there is none and its status."""
        environment = dict(os.environ,
                           TROUPE_BENCH_DIRECTORY=self.directory,
                           TROUPE_BENCH_NAME=self.name,
                           TROUPE_BENCH_BUILD=str(self.build))
        argv = self.argv(line, milliseconds)
        if not os.path.exists(argv[0]):
            return None, f"there is no program {argv[0]}", 1
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=environment,
                              start_new_session=True) as process:
            self.running = process
            try:
                output, errors = process.communicate(timeout=RUN_MAX_SECONDS)
            except subprocess.TimeoutExpired:
                self.end_running()
                output, errors = process.communicate()
                errors += f"\nended after {RUN_MAX_SECONDS} s"
            finally:
                self.end_running()
                self.running = None
        self.clean()
        if process.returncode != 0:
            last = (errors.strip().splitlines() or ["no word"])[-1]
            return None, f"{last} (status {process.returncode})", \
                process.returncode
        try:
            result = json.loads(output)
            return float(result["value"]), result["unit"], 0
        except (ValueError, KeyError, TypeError):
            return None, f"not a result: {output!r}", 1

    def end_running(self):
        """Also members of the group that outlived its first process."""
        if self.running:
            try:
                os.killpg(self.running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def clean(self):
        """Nothing that a run left goes into the next, or stays."""
        for path in pathlib.Path(self.directory).glob("*"):
            path.unlink(missing_ok=True)
        for place in ("/dev/shm", "/dev/mqueue"):
            for path in pathlib.Path(place).glob(self.name + "*"):
                path.unlink(missing_ok=True)

    def close(self):
        self.end_running()
        self.clean()
        shutil.rmtree(self.directory, ignore_errors=True)


def number(value):
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g}"


def print_case(row, case, results, notes, runs):
    better = f"{case.better} is better"
    print(f"\n{row.name}  {case.name}  ({case.unit}, {better}, "
          f"{runs} runs)")
    pick = sorted(results, key=lambda name: median_of(results[name]),
                  reverse=case.better == "higher")
    ours = results.get(table.TROUPE)
    for name in pick:
        values = results[name].values()
        spread = f"{number(min(values))} .. {number(max(values))}"
        ratio = ""
        if ours and name != table.TROUPE:
            both = ratio_of(ours, results[name])
            ratio = f"troupe {both:.3g} x" if both else ""
        print(f"  {name:24} {number(statistics.median(values)):>9}  "
              f"{spread:22}  {ratio}")
    for note in notes:
        print(f"  {note}")
    missed = []
    for target, system, ratio in judge(case, results) if ours else ():
        if ratio is None:
            continue
        if target.is_met(ratio):
            verdict = "met"
        else:
            verdict = f"MISSED by {100 * target.miss(ratio):.0f} %"
            missed.append(f"{row.name} {case.name}: {target.text}, "
                          f"is {ratio:.3g} x")
        against = f" {system}" if system != target.system else ""
        print(f"  target {target.text}: {verdict} ({ratio:.3g} x{against})")
    return missed


def measure(runner, case, names, options):
    """Results by system and round, and why others have none."""
    rounds, milliseconds = ROUNDS, MILLISECONDS
    if case.rounds:
        rounds, milliseconds = case.rounds, case.milliseconds
    if options.quick:
        rounds = case.quick_rounds or QUICK_ROUNDS
        milliseconds = case.quick_milliseconds or QUICK_MILLISECONDS
    results = {name: {} for name in names}
    reasons = {}
    refused = set()
    for turn in range(rounds):
        # Another one is first each time: nobody always follows the same.
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if name in reasons:
                continue
            value, text, status = runner.run(case.systems[name], milliseconds)
            if value is None:
                reasons[name] = text
                if status == REFUSED:
                    refused.add(name)
            elif text != case.unit:
                reasons[name] = f"unit {text!r} instead of {case.unit!r}"
            else:
                results[name][turn] = value
    for name in reasons:
        results[name] = {}
    results = {name: by for name, by in results.items() if by}
    return results, reasons, refused, rounds


def select(rows, wanted):
    """Rows with the cases that GROUP or GROUP:PATTERN name."""
    if not wanted:
        return [(row, row.cases) for row in rows]
    chosen = []
    for text in wanted:
        name, _, pattern = text.partition(":")
        found = [row for row in rows if row.name == name]
        if not found:
            known = " ".join(row.name for row in rows)
            sys.exit(f"bench: no group {name!r}; there are: {known}")
        cases = [case for case in found[0].cases
                 if fnmatch.fnmatchcase(case.name, pattern or "*")]
        if not cases:
            sys.exit(f"bench: no case of {name} is named {pattern!r}")
        chosen.append((found[0], cases))
    return chosen


def print_machine():
    with open("/proc/loadavg", encoding="ascii") as file:
        load = file.read().split()[0]
    cpus = len(os.sched_getaffinity(0))
    print(f"Linux {os.uname().release} {os.uname().machine}, {cpus} CPUs, "
          f"load {load}")
    if cpus == 1:
        print("one CPU: cases on two cores have both sides on that one")


def run_case(runner, row, case, options, exported, out):
    """(targets that were missed, what is missing)"""
    needs = row.needs + case.needs
    absent = [name for name in needs if not
              ((HERE.parent / name).exists() if "/" in name
               else name in exported)]
    names = [name for name in case.systems
             if not absent or "troupe" not in name]
    results, reasons, refused, rounds = measure(runner, case, names, options)
    notes = [f"{name}: {reason}" for name, reason in reasons.items()]
    if absent:
        notes.append(f"troupe: not measured, there is no {absent[0]} yet")
    missed = print_case(row, case, results, notes, rounds)
    sys.stdout.flush()
    if out:
        for name, by_round in results.items():
            out.write(json_line(row, case, name, by_round,
                                results.get(table.TROUPE)) + "\n")
        out.flush()
    return missed, missing_of(row, case, results, names, refused)


def run_all(runner, options, exported, out):
    missing = []
    missed = []
    for row, cases in select(table.ROWS, options.group):
        for case in cases:
            misses, lacks = run_case(runner, row, case, options, exported,
                                     out)
            missed += misses
            missing += lacks
    if not options.group:
        missing += unmeasured_of(exported)
    print()
    for line in missing:
        print(f"missing: {line}")
    for line in missed:
        print(f"missed: {line}")
    print(f"missing: {len(missing)}, missed targets: {len(missed)}")
    if missing:
        return 1
    return 1 if missed and options.strict else 0


def parse():
    parser = argparse.ArgumentParser(
        prog="dev bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", nargs="*", metavar="GROUP[:CASES]",
                        help="all if none is given; CASES is a pattern")
    parser.add_argument("--json", metavar="FILE", help="write JSON lines")
    parser.add_argument("--quick", action="store_true",
                        help="few short rounds: a look, not a verdict")
    parser.add_argument("--strict", action="store_true",
                        help="a missed target fails the run")
    parser.add_argument("--list", action="store_true",
                        help="print groups, cases and targets")
    parser.add_argument("--build", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def print_list():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for row in table.ROWS:
        print(f"{row.name}: {row.about}")
        for case in row.cases:
            print(f"  {case.name}: {', '.join(case.systems)}")
            print(f"    {case.target}")


def interrupted(number_, _frame):
    raise KeyboardInterrupt(number_)


def main():
    options = parse()
    if options.list:
        print_list()
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    select(table.ROWS, options.group)
    print_machine()
    runner = Runner(options.build)
    out = open(options.json, "w", encoding="utf-8") if options.json else None
    try:
        return run_all(runner, options,
                       exported_functions(HERE.parent / "src/troupe.map"),
                       out)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    finally:
        runner.close()
        if out:
            out.close()


if __name__ == "__main__":
    sys.exit(main())
