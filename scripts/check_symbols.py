#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_symbols.py LIBRARY: what the shared library exports.

The exported symbols, the version script and the public headers name the same
functions; each is declared once, with TROUPE_API and a comment that documents
it (a group of declarations without an empty line between may share one).
"""

import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = r"troupe_[a-z0-9_]+"
COMMENT = re.compile(r"/\*.*?\*/", re.S)

passed = 0
failures = 0


def verdict(good, name, why=""):
    global passed, failures
    if good:
        passed += 1
        print("ok   " + name)
    else:
        failures += 1
        print("FAIL " + name + why)


def compare(name, have, want):
    verdict(have == want and want, name, ": only the first has %s, only the "
            "second has %s" % (sorted(have - want), sorted(want - have)))


def exported(library):
    """Symbol -> version of all symbols that the library defines."""
    output = subprocess.run(["nm", "-D", "--defined-only", library],
                            check=True, capture_output=True, text=True).stdout
    symbols = {}
    for line in output.splitlines():
        name, _, version = line.split()[-1].partition("@")
        if not re.fullmatch(r"TROUPE_[0-9.]+", name):
            symbols[name] = version.lstrip("@")
    return symbols


def read_map():
    """The version script: symbol -> node, and the order within nodes."""
    with open(os.path.join(TOP, "src/troupe.map"), encoding="utf-8") as file:
        text = re.sub(r"#[^\n]*", "", file.read())
    symbols = {}
    is_sorted = True
    for node, body in re.findall(r"(\w[\w.]*)\s*\{(.*?)\}", text, re.S):
        names = re.findall(r"\b(%s)\s*;" % NAME, body)
        is_sorted = is_sorted and names == sorted(set(names))
        symbols.update((name, node) for name in names)
    return symbols, is_sorted


def headers():
    folder = os.path.join(TOP, "include")
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if name.endswith(".h"):
                full = os.path.join(path, name)
                with open(full, encoding="utf-8") as file:
                    yield os.path.relpath(full, TOP), file.read()


def declarations(text):
    """Pairs of name and whether it is documented, for each TROUPE_API."""
    # comments and preprocessor lines become runs of one character each
    code = COMMENT.sub(lambda m: re.sub(r"[^\n]", "\x01", m.group()), text)
    code = re.sub(r"^\s*#.*?(?<!\\)$", lambda m: re.sub(
        r"[^\n]", "\x02", m.group()), code, flags=re.M | re.S)
    documented = False
    end = 0
    for match in re.finditer(r"TROUPE_API\b[^;{]*;", code):
        statement = match.group()
        name = re.search(r"\b(%s)\s*(?:\(|\[|;)" % NAME, statement)
        begin = max(code.rfind(mark, 0, match.start())
                    for mark in ";{}\x01\x02") + 1
        near = not re.search(r"\n\s*\n", code[begin:match.start()])
        documented = near and (code[begin - 1:begin] == "\x01" or
                               (begin == end and documented))
        end = match.end()
        if name:
            yield name.group(1), documented


def main():
    library = exported(sys.argv[1])
    script, is_sorted = read_map()
    compare("the library exports what src/troupe.map lists",
            set(library), set(script))
    wrong = [name for name, version in library.items()
             if script.get(name, version) != version]
    verdict(not wrong, "every symbol has its version", ": " + " ".join(wrong))
    verdict(is_sorted, "src/troupe.map is sorted, without duplicates")
    declared = []
    undocumented = []
    for path, text in headers():
        for name, documented in declarations(text):
            declared.append(name)
            if not documented:
                undocumented.append("%s (%s)" % (name, path))
    compare("the headers declare what src/troupe.map lists",
            set(declared), set(script))
    twice = sorted({name for name in declared if declared.count(name) > 1})
    verdict(not twice, "every symbol is declared once", ": " + " ".join(twice))
    verdict(not undocumented, "every symbol is documented",
            ": " + ", ".join(undocumented))
    print("%d passed, %d failed, 0 skipped" % (passed, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
