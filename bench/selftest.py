#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the driver and of the table: judging, what counts as missing, and
what becomes of programs that fail, hang or leave something behind. Nothing
is measured. Ends with "N passed, N failed, 0 skipped"."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

import driver  # noqa: E402
import table  # noqa: E402


def case_of(target, better="higher", **systems):
    systems = systems or {"troupe": [], "slow": [], "fast": [],
                          "yardstick:bare": []}
    return table.Case("case", "op/s", better, systems, target)


ROW = table.Row("row", "about", ())

HERE = pathlib.Path(__file__).resolve().parent

# What must be measured, of whom, and what is to be reached, said a second time:
# a row, case, system or target that gets lost in table.py is found here.
LOCKS = "pthread-plain pthread-robust boost python yardstick:futex"
FAIR = LOCKS + " yardstick:ticket yardstick:equal-shares"
WAKERS = "eventfd sem pthread-cond python yardstick:futex"
QUEUES = "boost zeromq nng pipe posix-mq python yardstick:spsc"
MANY = "boost zeromq pipe python"
FILES = "pipe unix-stream"
BEST = "1.5 x best peer"
WAKE = "<= 1.1 x yardstick:futex; <= 0.25 x python"
EQUAL = ">= 0.85 x yardstick:equal-shares"
WANTED = {
    "lock_uncontended": {
        "one-process": (LOCKS, "<= 0.65 x pthread-plain; "
                        "<= 1.15 x yardstick:futex")},
    "lock_contended": {
        "2-processes": (LOCKS, ">= 1.0 x best peer"),
        "8-processes": (LOCKS, ">= 0.9 x best peer"),
        "32-processes": (LOCKS, ">= 0.9 x best peer"),
        "2-processes,fairness": (FAIR, EQUAL),
        "8-processes,fairness": (FAIR, EQUAL),
        "32-processes,fairness": (FAIR, EQUAL)},
    "wake": {
        "event,one-core": (WAKERS, WAKE),
        "event,two-core": (WAKERS, WAKE)},
    "queue_1to1": {
        "8B,one-core": (QUEUES, BEST),
        "8B,two-core": (QUEUES, BEST),
        "64B,one-core": (QUEUES, BEST),
        "64B,two-core": (QUEUES, BEST),
        "8B,one-core,spsc": ("yardstick:spsc", ">= 0.6 x yardstick:spsc"),
        "8B,two-core,spsc": ("yardstick:spsc", ">= 0.6 x yardstick:spsc"),
        "64B,one-core,spsc": ("yardstick:spsc", ">= 0.6 x yardstick:spsc"),
        "64B,two-core,spsc": ("yardstick:spsc", ">= 0.6 x yardstick:spsc")},
    "queue_large": {
        "1KiB": (QUEUES + " unix-seqpacket", ">= 1.0 x best peer"),
        "64KiB": (QUEUES + " unix-seqpacket", ">= 1.0 x best peer"),
        "1MiB": (QUEUES + " unix-seqpacket", ">= 1.0 x best peer")},
    "queue_zero_copy": {
        "64KiB,hand-over": (FILES, ">= 1.0 x best peer"),
        "1MiB,hand-over": (FILES, ">= 50 x pipe; "
                           ">= 0.5 x yardstick:troupe-64KiB"),
        "64MiB,hand-over": (FILES, ">= 0.5 x yardstick:troupe-64KiB"),
        "64KiB,filled-and-read": (FILES, ">= 2 x pipe"),
        "1MiB,filled-and-read": (FILES, ">= 2 x pipe"),
        "64MiB,filled-and-read": (FILES, ">= 2 x pipe")},
    "queue_mpmc": {
        "2:2": (MANY, BEST),
        "4:4": (MANY, BEST + "; >= 0.5 x yardstick:troupe-2:2"),
        "16:16": (MANY, BEST + "; >= 0.5 x yardstick:troupe-2:2"),
        "2:2,8B": (MANY, BEST),
        "2:2,1KiB": (MANY, ">= 1.0 x best peer"),
        "2:2,64KiB": (MANY, ">= 1.0 x best peer"),
        "2:2,1MiB": (MANY, ">= 1.0 x best peer")},
    "queue_ping_pong": {
        "one-core": (FILES + " python yardstick:futex yardstick:spin",
                     "<= 1.2 x yardstick:futex"),
        "two-core": (FILES + " python yardstick:futex yardstick:spin",
                     "<= 2 x yardstick:spin")},
    "start_join": {
        "fork": ("fork-wait posix-spawn python", "<= 1.2 x fork-wait")},
    "pool_map_empty": {
        "10^6-tasks": ("openmp-dynamic-1 tasks-over-pipes python",
                       ">= 0.5 x openmp-dynamic-1; >= 5 x python")},
    "pool_busy": {
        "1ms": ("openmp-dynamic-1 python", ">= 0.98 x openmp-dynamic-1"),
        "skewed": ("openmp-dynamic-1 python", ">= 0.98 x openmp-dynamic-1")},
    "wordcount": {
        "128MiB": ("yardstick:single-process yardstick:troupe-one-worker",
                   ">= 1.8 x yardstick:troupe-one-worker; "
                   ">= 1.6 x yardstick:single-process")},
    "memory": {
        "8-members": ("yardstick:1MiB", "<= 1 x yardstick:1MiB")},
}

# Of these there is nothing, or not all, to measure yet.
WANTED_LATER = {
    "wake,condition", "wake,semaphore", "barrier", "start_join,spawn",
    "start_join_1gib", "pool_apply_async", "codec", "connection",
    "manager_dict", "shared_dict"}


class Judging(unittest.TestCase):
    def test_target_forms(self):
        target = driver.Target("<= 0.65 x pthread-plain", "lower")
        self.assertEqual((target.relation, target.ratio, target.system),
                         ("<=", 0.65, "pthread-plain"))
        target = driver.Target("1.5 x best peer", "higher")
        self.assertEqual((target.relation, target.ratio), (">=", 1.5))
        target = driver.Target("2 x best peer", "lower")
        self.assertEqual((target.relation, target.ratio), ("<=", 0.5))
        for wrong in ("fast", "== 2 x fast", "2x fast", ""):
            self.assertRaises(ValueError, driver.Target, wrong, "higher")

    def test_limits_themselves_are_met(self):
        self.assertTrue(driver.Target(">= 2 x fast", "higher").is_met(2.0))
        self.assertFalse(driver.Target(">= 2 x fast", "higher").is_met(1.99))
        self.assertTrue(driver.Target("<= 2 x fast", "lower").is_met(2.0))
        self.assertFalse(driver.Target("<= 2 x fast", "lower").is_met(2.01))
        self.assertAlmostEqual(
            driver.Target(">= 2 x fast", "higher").miss(1.5), 0.25)

    def test_ratio_is_of_each_round(self):
        # The machine was ten times slower in round 1, for both.
        ours, other = {0: 200, 1: 20, 2: 210}, {0: 100, 1: 10, 2: 100}
        self.assertEqual(driver.ratio_of(ours, other), 2.0)
        self.assertIsNone(driver.ratio_of({0: 1}, {1: 1}))

    def test_best_peer_is_no_yardstick(self):
        results = {"troupe": {0: 5}, "slow": {0: 2}, "fast": {0: 4},
                   "yardstick:bare": {0: 9}}
        self.assertEqual(driver.best_peer(case_of("1 x best peer"), results),
                         "fast")
        self.assertEqual(
            driver.best_peer(case_of("1 x best peer", "lower"), results),
            "slow")

    def test_every_clause_is_judged(self):
        results = {"troupe": {0: 5}, "slow": {0: 2}, "fast": {0: 4},
                   "yardstick:bare": {0: 10}}
        verdicts = driver.judge(
            case_of("1.5 x best peer; >= 0.5 x yardstick:bare"), results)
        self.assertEqual([(system, ratio) for _, system, ratio in verdicts],
                         [("fast", 1.25), ("yardstick:bare", 0.5)])
        self.assertEqual([t.is_met(ratio) for t, _, ratio in verdicts],
                         [False, True])


class Missing(unittest.TestCase):
    full = {"troupe": {0: 5}, "slow": {0: 2}, "fast": {0: 4},
            "yardstick:bare": {0: 9}}

    def missing(self, results, target="1.5 x best peer", refused=(),
                row=ROW):
        case = case_of(target)
        return driver.missing_of(row, case, results, list(case.systems),
                                 refused)

    def test_nothing(self):
        self.assertEqual(self.missing(self.full), [])

    def test_a_system(self):
        for name in self.full:
            results = {key: value for key, value in self.full.items()
                       if key != name}
            self.assertIn(f"row case: no figure of {name}",
                          self.missing(results))

    def test_a_target(self):
        lacks = self.missing(self.full, ">= 1 x gone")
        self.assertEqual(lacks, ["row case: target '>= 1 x gone' cannot be "
                                 "judged"])

    def test_a_refusal_counts_unless_it_may_be(self):
        results = dict(self.full)
        del results["slow"]
        self.assertEqual(len(self.missing(results, refused={"slow"})), 1)
        driver.MAY_REFUSE.add(("row", "case", "slow"))
        try:
            self.assertEqual(self.missing(results, refused={"slow"}), [])
            self.assertEqual(len(self.missing(results)), 1)
        finally:
            driver.MAY_REFUSE.remove(("row", "case", "slow"))


class Table(unittest.TestCase):
    def test_targets_name_systems_of_their_case(self):
        for row in table.ROWS:
            for case in row.cases:
                for target in driver.targets_of(case):
                    self.assertIn(target.system,
                                  [*case.systems, "best peer"],
                                  f"{row.name} {case.name}")
                    if target.system == "best peer":
                        self.assertTrue(
                            any(map(driver.is_peer, case.systems)))

    def test_nothing_is_lost(self):
        cases = {(row.name, case.name): case
                 for row in table.ROWS for case in row.cases}
        for row, wanted in WANTED.items():
            for name, (systems, target) in wanted.items():
                with self.subTest(row=row, case=name):
                    self.assertIn((row, name), cases)
                    case = cases[row, name]
                    self.assertLessEqual({"troupe", *systems.split()},
                                         set(case.systems))
                    self.assertLessEqual(set(target.split("; ")),
                                         set(case.target.split("; ")))
        self.assertLessEqual(
            WANTED_LATER,
            set(table.NOT_YET) | {row.name for row in table.ROWS} |
            {f"{row.name},{case.name.split(',')[0]}"
             for row in table.ROWS for case in row.cases})

    def test_every_function_has_a_place(self):
        exported = driver.exported_functions(HERE.parent / "src/troupe.map")
        self.assertIn("troupe_alloc", exported)
        self.assertEqual(driver.unmeasured_of(exported), [])
        self.assertEqual(
            driver.unmeasured_of(exported | {"troupe_sem_take"}),
            ["troupe_sem_take(): table.py has no place for it"])
        self.assertEqual(
            driver.unmeasured_of(exported | {"troupe_pool_async"}),
            ["troupe_pool_async(): table.py has no place for it"])
        self.assertEqual(
            driver.unmeasured_of(exported | {"troupe_barrier_wait"}),
            ["barrier: the library has troupe_barrier_wait(), but no "
             "benchmark"])

    def test_what_the_wanted_need_is_there(self):
        """Else the library is left out, for a name that is wrong or gone."""
        exported = driver.exported_functions(HERE.parent / "src/troupe.map")
        for row in table.ROWS:
            for case in row.cases:
                for name in row.needs + case.needs:
                    self.assertTrue(case.name not in WANTED.get(row.name, ())
                                    or name in exported or
                                    (HERE.parent / name).is_file(), name)

    def test_every_case_measures_the_library(self):
        for row in table.ROWS:
            names = [case.name for case in row.cases]
            self.assertEqual(len(names), len(set(names)), row.name)
            for case in row.cases:
                self.assertIn(table.TROUPE, case.systems)
                self.assertIn(case.better, ("higher", "lower"))

    def test_names(self):
        names = [row.name for row in table.ROWS]
        self.assertEqual(len(names), len(set(names)))
        self.assertFalse(set(names) & set(table.NOT_YET))

    def test_selection(self):
        row = table.ROWS[0]
        self.assertEqual(driver.select(table.ROWS, [row.name]),
                         [(row, row.cases)])
        self.assertEqual(
            driver.select(table.ROWS, [f"{row.name}:{row.cases[0].name}"]),
            [(row, row.cases[:1])])
        for wrong in ("nothing", f"{row.name}:nothing"):
            self.assertRaises(SystemExit, driver.select, table.ROWS, [wrong])

    def test_lines_of_the_file(self):
        line = json.loads(driver.json_line(
            ROW, case_of("1.5 x best peer"), "troupe",
            {0: 1.0, 1: 3.0, 2: 2.0}))
        self.assertEqual(line, {
            "bench": "row", "case": "case", "system": "troupe",
            "unit": "op/s", "better": "higher", "median": 2.0, "min": 1.0,
            "max": 3.0, "runs": 3, "target": "1.5 x best peer",
            "ratio": None})
        line = json.loads(driver.json_line(
            ROW, case_of("1.5 x best peer"), "slow", {0: 1.0, 1: 4.0},
            {0: 2.0, 1: 6.0}))
        self.assertEqual((line["target"], line["ratio"]), ("", 1.75))


class Programs(unittest.TestCase):
    build = (HERE / "CMakeLists.txt").read_text("utf-8")
    # of packages that ./dev check does not install
    foreign = re.compile(r"^#include <(zmq|nng/|boost/)", re.MULTILINE)

    def test_the_table_has_those_that_are_built(self):
        built = set(re.findall(r"^(?:bench|troupe)_program\((\w+)",
                               self.build, re.MULTILINE))
        named = {line[0] for row in table.ROWS for case in row.cases
                 for line in case.systems.values()}
        scripts = {name for name in named if name.endswith(".py")}
        # run_wordcount.py starts it
        self.assertEqual(named - scripts | {"wordcount_single"}, built)
        for name in scripts:
            self.assertTrue((HERE / "python" / name).is_file(), name)

    def test_every_file_is_built(self):
        files = {str(path.relative_to(HERE)) for path in HERE.glob("*/*.c*")}
        self.assertEqual(set(re.findall(r"\w+/\w+\.cc?\b", self.build)), files)

    def test_they_compile(self):
        sources = [path for path in sorted(HERE.glob("*/*.c"))
                   if not self.foreign.search(path.read_text("utf-8"))]
        self.assertIn(HERE / "lock/lock_troupe.c", sources)
        warnings = re.findall(r"-W[a-z-]+", self.build)
        self.assertIn("-Werror", warnings)
        done = subprocess.run(
            ["gcc", "-std=gnu11", "-fsyntax-only", "-fopenmp", "-D_GNU_SOURCE",
             "-I", HERE / "common", "-I", HERE.parent / "include", *warnings,
             *sources], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class Running(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory(prefix="troupe-bench-test-")
        self.addCleanup(self.place.cleanup)
        self.build = pathlib.Path(self.place.name)
        (self.build / "bench").mkdir()
        self.runner = driver.Runner(self.build)
        self.addCleanup(self.runner.close)

    def program(self, text):
        path = self.build / "bench/program"
        path.write_text("#!/bin/sh\n" + text, "utf-8")
        path.chmod(0o755)
        return self.runner.run(["program"], 1)

    def test_a_figure(self):
        self.assertEqual(
            self.program('echo \'{"unit": "op/s", "value": 12.5}\''),
            (12.5, "op/s", 0))

    def test_a_failure_is_told_with_its_last_word(self):
        value, reason, status = self.program("echo why >&2; exit 1")
        self.assertIsNone(value)
        self.assertEqual((reason, status), ("why (status 1)", 1))

    def test_rubbish_is_no_result(self):
        for text in ("true", "echo 5", "echo '{}'"):
            self.assertIsNone(self.program(text)[0])

    def test_no_program(self):
        self.assertIsNone(self.runner.run(["gone"], 1)[0])

    def test_a_hanging_program_is_ended_with_its_children(self):
        pid_file = self.build / "pid"
        limit, driver.RUN_MAX_SECONDS = driver.RUN_MAX_SECONDS, 1
        try:
            value, reason, _ = self.program(
                f"sleep 1000 & echo $! > {pid_file}; wait")
        finally:
            driver.RUN_MAX_SECONDS = limit
        self.assertIsNone(value)
        self.assertIn("ended after 1 s", reason)
        self.assert_ends(int(pid_file.read_text("ascii")))

    def test_a_child_that_was_left_is_ended(self):
        pid_file = self.build / "pid"
        self.program("sleep 1000 >/dev/null 2>&1 & "
                     f"echo $! > {pid_file}; exit 1")
        self.assert_ends(int(pid_file.read_text("ascii")))

    def assert_ends(self, pid):
        """It was sent SIGKILL: whoever inherits it reaps it soon."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] in "ZX":
                        return
            except FileNotFoundError:
                return
        self.fail(f"process {pid} still runs")

    def test_files_that_were_left_are_removed(self):
        shared = pathlib.Path("/dev/shm")
        self.program('touch "$TROUPE_BENCH_DIRECTORY/left" '
                     '"/dev/shm/$TROUPE_BENCH_NAME-left"')
        self.assertEqual(os.listdir(self.runner.directory), [])
        self.assertEqual(list(shared.glob(self.runner.name + "*")), [])
        self.runner.close()
        self.assertFalse(os.path.exists(self.runner.directory))


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules[__name__])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    bad = {test.id() for test, _ in result.failures + result.errors}
    for name in sorted(bad):
        print(f"FAIL {name}")
    print(f"{result.testsRun - len(bad)} passed, {len(bad)} failed, "
          "0 skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
