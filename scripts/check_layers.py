#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The layers, as the table in ARCHITECTURE.md has them.

Each row of the table names a folder below src/ and the folders it may use,
with all that those may use. This checks that the table and the folders agree,
that no include goes up or sideways, that only src/os makes system calls (but
for the harmless ones that ARCHITECTURE.md names), that
src/base neither allocates nor calls the system, and that programs include
nothing but the public headers. The other table there has a row for every other
folder, and none for what is not there.
"""

import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("tools", "examples", "bench", "python")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
LITERAL = re.compile(r"""'(\\.|[^'\\])'|"(\\.|[^"\\])*\"""")
# What only src/os calls; not what is a member of a struct.
CALLS = re.compile(r"""(?<![\w.>])(
    syscall | clone3? | v?fork | posix_spawnp? | exec[vl]p?e? | wait(id|pid|[34])
    | p?kill | tgkill | sigqueue | raise | ptrace | prctl | unshare
    | mmap | mremap | mprotect | madvise | mlock(all)? | brk | shm(at|get|_open)
    | memfd_create | f?truncate | (posix_)?fallocate | open(at)? | creat | fd?open
    | tmpfile | opendir | unlink(at)? | link | rename | mkdir | dup[23]?
    | fcntl | pipe2? | eventfd | signalfd | timerfd_\w+ | epoll_\w+ | pidfd_\w+
    | socket(pair)? | bind | listen | accept4? | connect | [gs]etsockopt | shutdown
    | send(to|msg|file)? | recv(from|msg)? | p?(read|write)v? | splice
    | clock_\w+ | (nano|u)?sleep | timer_\w+ | setitimer | alarm | pause
    | [gs]etrlimit | prlimit | sched_set\w+ | getrandom
)\s*\(""", re.X)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)

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


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """Blanks comments, keeping the lines where they are."""
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def files_below(folder):
    for path, folders, names in os.walk(os.path.join(TOP, folder)):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".c", ".cc", ".h")):
                yield os.path.relpath(os.path.join(path, name), TOP)


def read_table():
    """Folder -> (folders it may use directly, may use others' layouts)."""
    table = {}
    for line in read("ARCHITECTURE.md").splitlines():
        row = re.match(r"\|\s*`src/([a-z]+)/`\s*\|.*\|([^|]*)\|\s*$", line)
        if row:
            uses = row.group(2)
            table[row.group(1)] = (
                re.findall(r"`([a-z]+)`", uses),
                "_layout.h" in uses,
            )
    return table


def allowed_from(table, folder):
    seen = set()
    todo = [folder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(table[name][0])
    return seen


def offence(table, folder, path, quote, target):
    """Why a file of the layer may not include the target, or None."""
    if target == "troupe.h" or target.startswith("troupe/"):
        if os.path.exists(os.path.join(TOP, "include", target)):
            return None
        return "there is no such public header"
    if quote == "<":
        # the compiler would find it there as well
        if os.path.exists(os.path.join(TOP, "src", target)):
            return "a file of src/ is included with quotes"
        return None
    if "/" not in target:
        if os.path.exists(os.path.join(TOP, os.path.dirname(path), target)):
            return None
        return "not in the same folder"
    other = target.split("/")[0]
    if not os.path.exists(os.path.join(TOP, "src", target)):
        return "there is no such file in src/"
    if other in allowed_from(table, folder):
        return None
    if table[folder][1] and target.endswith("_layout.h"):
        return None
    return "%s may not use %s" % (folder, other)


def check_includes(table, folder):
    problems = []
    for path in files_below("src/" + folder):
        for quote, target in INCLUDE.findall(without_comments(read(path))):
            why = offence(table, folder, path, quote, target)
            if why:
                problems.append("%s includes %s: %s" % (path, target, why))
    verdict(not problems, "src/%s includes nothing above it" % folder,
            "".join("\n    " + p for p in problems))


def occurrences(paths, pattern):
    found = []
    for path in paths:
        lines = without_comments(read(path)).splitlines()
        for number, line in enumerate(lines, 1):
            if re.search(pattern, LITERAL.sub('""', line)):
                found.append("\n    %s:%d: %s" % (path, number, line.strip()))
    return found


def check_programs():
    problems = []
    for folder in PROGRAMS:
        for path in files_below(folder):
            for quote, target in INCLUDE.findall(without_comments(read(path))):
                public = target == "troupe.h" or target.startswith("troupe/")
                own = os.path.exists(
                    os.path.join(TOP, os.path.dirname(path), target))
                inside = os.path.exists(os.path.join(TOP, "src", target))
                if not public and (inside or quote == '"' and not (
                        own and ".." not in target)):
                    problems.append("\n    %s includes %s" % (path, target))
    verdict(not problems, "programs include only public headers",
            "".join(problems))


def check_folders():
    """A row for each folder at the top and in tests/, and nothing else."""
    rows = set(re.findall(r"^\|\s*`([\w./-]+)`\s*\|",
                          read("ARCHITECTURE.md"), re.M))
    gone = sorted(row for row in rows
                  if not os.path.exists(os.path.join(TOP, row)))
    verdict(not gone, "ARCHITECTURE.md has rows for what is there",
            ": but not for " + ", ".join(gone))
    files = subprocess.run(
        ["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"],
        check=True, capture_output=True, text=True).stdout.splitlines()
    absent = set()
    for path in files:
        parts = path.split("/")
        if len(parts) == 1 or not os.path.exists(os.path.join(TOP, path)):
            continue
        # tests/ has a row for each folder in it, the rest may be summed up
        if parts[0] == "tests" and len(parts) > 2:
            wanted = "tests/%s/" % parts[1]
            known = wanted in rows
        else:
            wanted = parts[0] + "/"
            known = any(row.startswith(wanted) for row in rows)
        if not known:
            absent.add(wanted)
    verdict(not absent, "ARCHITECTURE.md has a row for every folder",
            ": but none for " + ", ".join(sorted(absent)))


def check_public_headers():
    problems = []
    for path in files_below("include"):
        text = without_comments(read(path))
        for quote, target in INCLUDE.findall(text):
            if quote == '"' and not os.path.exists(
                    os.path.join(TOP, "include", target)):
                problems.append("\n    %s includes %s" % (path, target))
    verdict(not problems, "public headers include only public headers",
            "".join(problems))
    if os.path.exists(os.path.join(TOP, "include/troupe.h")):
        text = without_comments(read("include/troupe.h"))
        rest = [line for line in text.splitlines() if line.strip()
                and not re.match(r"\s*#\s*(include|ifndef|define|endif)", line)]
        verdict(not rest, "include/troupe.h only includes", ": %s" % rest)
        missing = [path for path in files_below("include/troupe")
                   if path[len("include/"):] not in text]
        verdict(not missing, "include/troupe.h includes every header",
                " but not " + ", ".join(missing))


def main():
    table = read_table()
    folders = sorted(name for name in os.listdir(os.path.join(TOP, "src"))
                     if os.path.isdir(os.path.join(TOP, "src", name)))
    verdict(sorted(table) == folders and folders,
            "ARCHITECTURE.md names the folders of src/",
            ": it has %s, there is %s" % (sorted(table), folders))
    unknown = sorted({use for uses, _ in table.values() for use in uses}
                     - set(table))
    verdict(not unknown, "the table uses only folders it has",
            ": " + ", ".join(unknown))
    if not failures:
        for folder in folders:
            check_includes(table, folder)
    found = occurrences((p for p in files_below("src")
                         if not p.startswith("src/os/")), CALLS)
    verdict(not found, "only src/os makes system calls", "".join(found))
    found = occurrences(
        files_below("src/base"),
        r"\b(malloc|calloc|realloc|reallocarray|free|mmap|strdup)\s*\(")
    verdict(not found, "src/base does not allocate", "".join(found))
    check_programs()
    check_folders()
    check_public_headers()
    print("%d passed, %d failed, 0 skipped" % (passed, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
