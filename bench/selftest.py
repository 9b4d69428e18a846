#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the driver and of the table: judging, what counts as missing, and
what becomes of programs that fail, hang or leave something behind. Nothing
is measured. Ends with "N passed, N failed, 0 skipped"."""

import json
import os
import pathlib
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
