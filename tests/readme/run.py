#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what README.md and examples/README.md show, as a reader would.

Every ```c block is a whole program; its first line is a comment with its
name, /* hello.c */. It is compiled against an installed copy, shared and
static, and run. The ```sh blocks are run in order by one shell, in a folder
that holds those programs and a ./dev; a verb of ./dev that takes long is not
run there (it has a run of its own), it only must exist. A ```text block that
follows directly is the exact output of the block before. The commands of
examples/README.md are run in a copy of that folder, with the library installed.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)

# The verbs that are run from here; the others only must be known.
DEV = """#!/bin/sh
case ${{1-help}} in
install | help) exec {top}/dev "$@" ;;
esac
{top}/dev help | grep -q "^  $1 " || {{
    echo "there is no ./dev $1" >&2
    exit 1
}}
"""

passed = 0
failures = 0


def verdict(good, name, why=""):
    global passed, failures
    if good:
        passed += 1
        print("ok   " + name)
    else:
        failures += 1
        print("FAIL " + name)
        print("".join("    %s\n" % line for line in why.splitlines()), end="")
    return good


def run(command, **more):
    """Returns (status, stdout, everything said)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=600, **more)
    except subprocess.TimeoutExpired as late:
        return -1, "", "no end after %d s" % late.timeout
    return done.returncode, done.stdout, done.stdout + done.stderr


def blocks(text):
    """Triples (language, body, expected output or None) in order."""
    found = []
    last_end = None
    for match in FENCE.finditer(text):
        language, body = match.groups()
        near = last_end is not None and not text[last_end:match.start()].strip()
        if language == "text" and near:
            found[-1][2] = body
        else:
            found.append([language, body, None])
        last_end = match.end()
    return found


def check_program(name, path, expected, prefix, scratch):
    output = os.path.join(scratch, "program")
    flags = {}
    for kind in ("shared", "static"):
        extra = ["--static"] if kind == "static" else []
        status, words, said = run(["pkg-config", *extra, "--cflags", "--libs",
                                   "troupe"])
        if not verdict(status == 0, "%s, flags for %s" % (name, kind), said):
            return
        flags[kind] = (["-static"] if kind == "static" else []) + words.split()
    for kind, words in flags.items():
        status, _, said = run(["cc", "-Wall", "-Wextra", "-o", output, path,
                               *words])
        if not verdict(status == 0 and not said.strip(),
                       "%s compiles, %s" % (name, kind), said):
            continue
        library = os.path.join(prefix, "lib")
        status, out, said = run([output], env=dict(
            os.environ, LD_LIBRARY_PATH=library))
        good = status == 0 and (expected is None or out == expected)
        verdict(good, "%s works, %s" % (name, kind),
                "status %d\n%s" % (status, said))


def check_commands(file, shell_blocks, folder):
    script = "set -e\n"
    for number, (body, _) in enumerate(shell_blocks):
        script += "%s\nprintf '\\001%d\\001'\n" % (body, number)
    status, out, said = run(["sh", "-c", script], cwd=folder, env=dict(
        os.environ, HOME=folder))
    parts = re.split("\x01\\d+\x01", out)
    for number, (body, expected) in enumerate(shell_blocks):
        name = file + ", commands: " + body.strip().splitlines()[0]
        if number >= len(parts) - 1:
            verdict(False, name, "status %d\n%s" % (status, said[-4000:]))
        else:
            verdict(expected is None or parts[number] == expected, name,
                    "it printed:\n" + parts[number])


def commands_in(found):
    return [(body, expected) for language, body, expected in found
            if language == "sh"]


def check_languages(file, found, run_here):
    """A block that nobody runs may say anything."""
    others = sorted(repr(language) for language, _, _ in found
                    if language not in run_here)
    verdict(not others, file + " has only blocks that are run",
            " ".join(others))


def check_examples(folder):
    name = "examples/README.md"
    shutil.copytree(os.path.join(TOP, "examples"), folder)
    found = read_blocks(name)
    check_commands(name, commands_in(found), folder)
    check_languages(name, found, {"sh", "text"})


def read_blocks(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return blocks(file.read())


def main():
    found = read_blocks("README.md")
    # the folder goes also when somebody ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="troupe-readme-")
    try:
        prefix = os.path.join(folder, "prefix")
        status, _, said = run([os.path.join(TOP, "dev"), "install", "--prefix",
                               prefix])
        if not verdict(status == 0, "./dev install --prefix", said[-4000:]):
            return
        os.environ["PKG_CONFIG_PATH"] = os.path.join(prefix, "lib/pkgconfig")
        reader = os.path.join(folder, "reader")
        os.mkdir(reader)
        with open(os.path.join(reader, "dev"), "w", encoding="utf-8") as file:
            file.write(DEV.format(top=shlex.quote(TOP)))
        os.chmod(os.path.join(reader, "dev"), 0o755)
        programs = []
        for language, body, expected in found:
            if language == "c":
                name = re.match(r"/\* (\w+\.c) ", body)
                if not verdict(name, "README.md, program %d has a name" %
                               (len(programs) + 1), body):
                    continue
                path = os.path.join(reader, name.group(1))
                with open(path, "w", encoding="utf-8") as file:
                    file.write(body)
                programs.append(path)
                check_program("README.md, " + name.group(1), path, expected,
                              prefix, folder)
        verdict(programs, "README.md shows a program")
        check_examples(os.path.join(folder, "examples"))
        del os.environ["PKG_CONFIG_PATH"]
        check_commands("README.md", commands_in(found), reader)
        check_languages("README.md", found, {"c", "sh"})
    finally:
        shutil.rmtree(folder)
        print("%d passed, %d failed, 0 skipped" % (passed, failures))


if __name__ == "__main__":
    main()
    sys.exit(1 if failures else 0)
