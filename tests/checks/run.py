#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the check scripts: each must find what it is there for, and what
./dev check adds up must be the sum.

A miniature project that breaks no rule is written to a scratch folder with
the real scripts in it. Then one rule after the other is broken, and the
script that is responsible must fail with the right words.
"""

import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
SHELL = "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"

PROJECT = {
    "ARCHITECTURE.md": """
| folder | what it holds | may use |
|---|---|---|
| `src/base/` | numbers | |
| `src/os/` | calls | `base` |
| `src/left/` | left | `os` |
| `src/right/` | right | `os` |
| `src/inspect/` | eyes | `base`, and the `_layout.h` headers of the others |

| folder | what it holds |
|---|---|
| `include/` | headers |
| `examples/` | programs |
| `scripts/` | checks |
| `docs/man/` | pages |
| `tests/compile/` | macros |
""",
    "include/troupe.h": SPDX + """#ifndef TROUPE_H
#define TROUPE_H

#include <troupe/one.h>

#endif
""",
    "include/troupe/one.h": SPDX + """#ifndef TROUPE_ONE_H
#define TROUPE_ONE_H

#define TROUPE_API __attribute__((visibility("default")))
#define TROUPE_ONE 1

/* Returns one. */
TROUPE_API int troupe_one(void);

#endif
""",
    "src/base/one.c": SPDX + """#include "troupe/one.h"

int
troupe_one(void)
{
    return TROUPE_ONE; /* not a syscall(), and no malloc() */
}
""",
    "src/os/call.h": SPDX + """#include "base/number.h"
""",
    "src/os/call.c": SPDX + """#include <sys/syscall.h>
#include <unistd.h>

long troupe__call(void);

long
troupe__call(void)
{
    return syscall(SYS_getpid);
}
""",
    "src/base/number.h": SPDX,
    "src/left/left.h": SPDX + """#include "os/call.h"
""",
    "src/right/right.h": SPDX + """#include "base/number.h"
#include "right_layout.h"
""",
    "src/right/right_layout.h": SPDX,
    "src/inspect/eye.h": SPDX + """#include "right/right_layout.h"
""",
    "src/troupe.map": """TROUPE_0.1 {
global:
    troupe_one;
local:
    *;
};
""",
    "tests/compile/macros.c": SPDX + """#include <troupe.h>

TROUPE_API extern int number;
int number = TROUPE_ONE;
""",
    "examples/hello.c": SPDX + """#include <troupe.h>
""",
    "docs/man/troupe.7": """.Dd January 2, 2020
.Dt TROUPE 7
.Os
.Sh NAME
.Nm troupe
.Nd one
.Sh DESCRIPTION
There is
.Xr troupe_one 3 .
.Sh SEE ALSO
.Xr fork 2
""",
    "docs/man/troupe_one.3": """.Dd January 2, 2020
.Dt TROUPE_ONE 3
.Os
.Sh NAME
.Nm troupe_one
.Nd one
.Sh SYNOPSIS
.In troupe/one.h
.Ft int
.Fn troupe_one void
.Sh DESCRIPTION
.Fn troupe_one
is
.Dv TROUPE_ONE .
.Sh RETURN VALUES
One.
.Sh EXAMPLES
.Bd -literal
#include <stdio.h>
#include <troupe/one.h>

int
main(void)
{
    printf("%d\\en", troupe_one());
    return 0;
}
.Ed
.Pp
It prints:
.Bd -literal
1
.Ed
.Sh ERRORS
None.
.Sh CRASH
Nothing.
.Sh THREADS
Safe.
.Sh FORK
Safe.
.Sh SIGNALS
Safe.
.Sh PYTHON
1.
.Sh SEE ALSO
.Xr troupe 7
""",
}

# What is broken: file, text to replace ("" appends), new text; the script
# that must fail, and the words it must fail with.
HEADER = "include/troupe/one.h"
PAGE = "docs/man/troupe_one.3"
BROKEN = [
    ("src/os/call.h", "", '#include "left/left.h"\n', "layers",
     "os may not use left"),
    ("src/left/left.h", "", '#include "right/right.h"\n', "layers",
     "left may not use right"),
    ("src/os/call.h", "", "#include <left/left.h>\n", "layers",
     "a file of src/ is included with quotes"),
    ("examples/hello.c", "", "#include <base/number.h>\n", "layers",
     "programs include only public headers"),
    ("src/inspect/eye.h", "", '#include "right/right.h"\n', "layers",
     "inspect may not use right"),
    ("src/left/left.h", "", '#include "../right/right.h"\n', "layers",
     "includes ../right/right.h"),
    ("src/left/left.h", "", '#include "troupe/none.h"\n', "layers",
     "there is no such public header"),
    ("src/left/left.c", "", SPDX + "long f(void) { return syscall(1); }\n",
     "layers", "only src/os makes system calls"),
    ("src/left/left.c", "", SPDX + "long f(void) { return fork(); }\n",
     "layers", "only src/os makes system calls"),
    ("src/left/left.c", "", SPDX + "void f(void) { (void)write(1, s, n); }\n",
     "layers", "only src/os makes system calls"),
    ("src/base/one.c", "return TROUPE_ONE;", "return !malloc(1);", "layers",
     "src/base does not allocate"),
    ("src/extra/extra.h", "", SPDX, "layers", "names the folders of src/"),
    ("ARCHITECTURE.md", "| `src/left/`", "| `src/gone/`", "layers",
     "names the folders of src/"),
    ("ARCHITECTURE.md", "numbers | |", "numbers | `gone` |", "layers",
     "the table uses only folders it has: gone"),
    ("ARCHITECTURE.md", "| `include/` | headers |",
     "| `include/` | headers |\n| `tools/` | no |", "layers",
     "has rows for what is there: but not for tools/"),
    ("tests/unit/test_one.c", "", SPDX, "layers",
     "has a row for every folder: but none for tests/unit/"),
    ("tools/one.c", "", SPDX, "layers",
     "has a row for every folder: but none for tools/"),
    (HEADER, "#define TROUPE_API", '#include "base/number.h"\n'
     "#define TROUPE_API", "layers",
     "public headers include only public headers"),
    ("examples/hello.c", "", '#include "base/number.h"\n', "layers",
     "programs include only public headers"),
    ("examples/hello.c", "", '#include "../src/base/number.h"\n', "layers",
     "programs include only public headers"),
    ("include/troupe/two.h", "", SPDX, "layers",
     "include/troupe.h includes every header"),
    ("include/troupe.h", "#endif", "extern int x;\n#endif", "layers",
     "include/troupe.h only includes"),
    (HEADER, "/* Returns one. */", "struct one { size_t size; };", "headers",
     "one.h alone, gcc, c11"),
    (HEADER, "/* Returns one. */", "struct one { int new; };", "headers",
     "one.h alone, clang, c++17"),
    (HEADER, "#define TROUPE_ONE 1", "#define TROUPE_ONE 1\n"
     "#define TROUPE_TWO(x) y", "headers", "TROUPE_TWO is not used"),
    (HEADER, "#define TROUPE_ONE 1", "#define TROUPE_ONE x", "headers",
     "every macro, gcc, c11"),
    (HEADER, "/* Returns one. */", "", "symbols",
     "every symbol is documented: troupe_one"),
    (HEADER, "/* Returns one. */", "/* Returns one. */\n", "symbols",
     "every symbol is documented: troupe_one"),
    (HEADER, "/* Returns one. */", "/* Two. */\nTROUPE_API int "
     "troupe_two(void);\n", "symbols", "the headers declare what"),
    ("src/troupe.map", "troupe_one;", "troupe_one;\n    troupe_two;",
     "symbols", "the library exports what src/troupe.map lists"),
    ("src/troupe.map", "troupe_one;", "troupe_one;\n    troupe_one;",
     "symbols", "src/troupe.map is sorted"),
    (HEADER, "TROUPE_API int troupe_one", "int troupe_one", "symbols",
     "the headers declare what"),
    (HEADER, "TROUPE_API int troupe_one(void);",
     "TROUPE_API int troupe_one(void);\nTROUPE_API int troupe_one(void);",
     "symbols", "every symbol is declared once: troupe_one"),
    ("scripts/new.sh", "", SHELL + "echo $1\n", "scripts",
     "scripts/new.sh passes shellcheck"),
    ("scripts/new", "", SHELL + "echo $1\n", "scripts",
     "scripts/new passes shellcheck"),
    ("scripts/new.sh", "", "#!/bin/sh\necho\n", "scripts",
     "scripts/new.sh does not begin with the licence"),
    ("scripts/new.py", "", "# SPDX-License-Identifier: Apache-2.0\nif\n",
     "scripts", "scripts/new.py compiles"),
    ("src/base/one.c", "    return", "  return", "format",
     "src/base/one.c is formatted"),
    ("src/base/one.c", SPDX, "", "format", "does not begin with the licence"),
    ("src/base/one.c", "", "/* %s */\n" % ("x" * 75), "format",
     "has a line of more than 80 columns"),
    ("bench/one.cc", "", "int one;\n", "format",
     "bench/one.cc does not begin with the licence"),
    ("bench/one.cc", "", SPDX + "int  one;\n", "format",
     "bench/one.cc is formatted"),
    ("src/troupe.map", "troupe_one;", "troupe_one;\n    troupe_two;", "docs",
     "every exported function is in the NAME of a page\n    troupe_two"),
    (PAGE, ".Nm troupe_one\n", ".Nm troupe_one ,\n.Nm troupe_one\n", "docs",
     "every function is in the NAME of one page\n    troupe_one"),
    (PAGE, ".Fn troupe_one void\n", "", "docs",
     "every exported function is in the SYNOPSIS of a page\n    troupe_one"),
    (PAGE, ".Fn troupe_one void\n", ".Fn troupe_one void\n.Ft int\n"
     ".Fn troupe_two void\n", "docs", "troupe_two: no header declares it"),
    (PAGE, ".Fn troupe_one void\n", ".Fn troupe_one void\n.Ft int\n"
     ".Fn troupe_two void\n", "docs", "have the same functions"),
    (PAGE, ".Ft int", ".Ft long", "docs", "the header has int troupe_one"),
    (PAGE, ".Fn troupe_one void", '.Fn troupe_one "int a"', "docs",
     "the header has int troupe_one ( void )"),
    (PAGE, ".In troupe/one.h", ".In troupe.h", "docs",
     "troupe_one: is declared in troupe/one.h"),
    (PAGE, ".Fn troupe_one\nis", "It is", "docs",
     "the DESCRIPTION has every function\n    troupe_one"),
    (HEADER, "Returns one.", "Returns one, or -EINTR.", "docs",
     "ERRORS lists every code\n    not EINTR"),
    (PAGE, "None.", ".Bl -tag -width Ds\n.It Er -EINTR\nA signal.\n.El", "docs",
     "ERRORS lists only codes of the headers\n    not EINTR"),
    (PAGE, ".Sh CRASH\nNothing.\n", "", "docs", "has its sections, in order"),
    (PAGE, ".Sh FORK\nSafe.\n.Sh SIGNALS\nSafe.\n",
     ".Sh SIGNALS\nSafe.\n.Sh FORK\nSafe.\n", "docs",
     "has its sections, in order"),
    (PAGE, ".Sh SIGNALS\nSafe.\n", ".Sh SIGNALS\n.\\\" later\n", "docs",
     "no section is empty\n    SIGNALS"),
    (PAGE, ".Sh FORK\nSafe.", ".Sh FORK\n.Nm troupe_one", "docs",
     "names only in NAME"),
    (PAGE, ".Xr troupe 7", ".Xr troup 7", "docs",
     "every reference leads somewhere\n    troup(7)"),
    (PAGE, ".Xr troupe 7", ".Xr fork 3", "docs",
     "every reference leads somewhere\n    fork(3)"),
    ("docs/man/troupe.7", ".Xr troupe_one 3 .", "nothing.", "docs",
     "troupe.7 refers to every other page\n    troupe_one(3)"),
    (PAGE, ".Sh ERRORS\n", ".Sh ERRORS\n.Bl -tag\n", "docs",
     "mandoc has nothing to warn of"),
    (PAGE, ".Dv TROUPE_ONE .", "1.", "docs",
     "every type, field and constant is on a page\n    TROUPE_ONE"),
    (HEADER, "/* Returns one. */",
     "typedef struct troupe_pair {\n    int left[2];\n    int (*call)(int);\n"
     "    int kept_;\n} troupe_pair;\n\n/* Returns one. */", "docs",
     "every type, field and constant is on a page\n"
     "    call, left, troupe_pair"),
    (HEADER, "/* Returns one. */",
     "enum troupe_colour { TROUPE_RED = 1 };\n\n/* Returns one. */", "docs",
     "every type, field and constant is on a page\n    TROUPE_RED"),
    (PAGE, "printf(", "print(", "docs", "example 1 compiles"),
    (PAGE, "int\nmain", "static int unused;\nint\nmain", "docs",
     "example 1 compiles"),
    (PAGE, "return 0", "return 1", "docs", "example 1 runs\n    status 1"),
    (PAGE, "return 0;", "for (;;) { }", "docs",
     "example 1 runs\n    no end after"),
    (PAGE, "\n1\n.Ed", "\n2\n.Ed", "docs",
     "prints what the page shows\n    it printed:\n    1"),
    (PAGE, "\\en", "\\n", "docs", "an example has the escape"),
    (PAGE, "main(void)", "start(void)", "docs", "has an example"),
    (PAGE, "troupe_one());", "1);", "docs",
     "uses a function of the page"),
]

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


def write(folder, path, text):
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def make_project(folder, change=None):
    shutil.copytree(os.path.join(TOP, "scripts"),
                    os.path.join(folder, "scripts"),
                    ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(os.path.join(TOP, ".clang-format"), folder)
    files = dict(PROJECT)
    if change:
        path, old, new = change
        text = files.get(path, "")
        if old:
            assert old in text, "%s has no %r" % (path, old)
            files[path] = text.replace(old, new, 1)
        else:
            files[path] = text + new
    for path, text in files.items():
        write(folder, path, text)
    subprocess.run(["git", "init", "-q", folder], check=True)


def build(folder):
    library = os.path.join(folder, "libtroupe.so")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-fvisibility=hidden", "-o", library,
         "-I", os.path.join(folder, "include"),
         os.path.join(folder, "src/base/one.c"), "-Wl,--version-script=" +
         os.path.join(folder, "src/troupe.map")], check=True)
    return library


def check(folder, kind):
    """Runs a check script in the project: (status, what it says)."""
    scripts = os.path.join(folder, "scripts")
    command = {
        "layers": ["python3", "-B", os.path.join(scripts, "check_layers.py")],
        "headers": ["sh", os.path.join(scripts, "check-headers.sh")],
        "format": ["sh", os.path.join(scripts, "check-format.sh")],
        "scripts": ["sh", os.path.join(scripts, "check-scripts.sh")],
        "symbols": ["python3", "-B",
                    os.path.join(scripts, "check_symbols.py")],
        "docs": ["python3", "-B", os.path.join(scripts, "check_docs.py")],
    }[kind]
    if kind in ("symbols", "docs"):
        command.append(build(folder))
    # an example that does not end is given one second here
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          env=dict(os.environ, TROUPE_EXAMPLE_TIMEOUT="1"))
    return done.returncode, done.stdout


def failed_saying(output, words):
    """Whether a failed line, with its indented explanation, has the words."""
    failed = re.findall(r"^FAIL .*\n(?:    .*\n)*", output, re.M)
    return any(words in text for text in failed)


# How scripts/check.sh counts: what a program said of its tests (or nothing),
# how it ended for ctest, and what comes out: passed, failed, skipped.
ACCOUNTS = [
    ("5 0 1", "run", "5 0 1"),
    ("4 1 0", "fail", "4 1 0"),
    ("5 0 0", "fail", "5 1 0"),  # it died after its last word
    ("4 1 0", "run", "4 2 0"),  # it failed and denies it
    (None, "run", "1 0 0"),
    (None, "fail", "0 1 0"),
    (None, "disabled", "0 0 1"),
    (None, "notrun", "0 1 0"),  # there was no program to start
    ("5 0 0", "notrun", "5 1 0"),
]


def check_accounts(scratch):
    """Runs the function account() of check.sh alone."""
    with open(os.path.join(TOP, "scripts/check.sh"), encoding="utf-8") as file:
        function = re.search(r"^account\(\) \{\n.*?^\}\n", file.read(),
                             re.M | re.S).group()
    report, junit = "", ""
    for number, (said, status, _) in enumerate(ACCOUNTS):
        name = "unit/test_%d" % number
        if said:
            report += "count %s %s\n" % (name, said)
            report += "fail %s some_test: count 9 9 9\n" % name
        junit += '<testcase name="%s" classname="x" status="%s"/>\n' % (
            name, status)
    write(scratch, "report", report)
    write(scratch, "junit.xml", junit)
    done = subprocess.run(["sh", "-c", function + "account conf report "
                           "junit.xml"], cwd=scratch, capture_output=True,
                          text=True)
    lines = done.stdout.splitlines()
    for number, (said, status, counts) in enumerate(ACCOUNTS):
        wanted = "unit conf " + counts
        got = lines[number] if number < len(lines) else "nothing"
        verdict(got == wanted, "accounts: %s and %s are %s" % (
            said, status, counts), got + "\n" + done.stderr)


# What a check script's last line and its status come to.
ENDS = [
    ("5 passed, 0 failed, 2 skipped", 0, "5 0 2"),
    ("50 passed, 10 failed, 0 skipped", 1, "50 10 0"),
    ("0 passed, 0 failed, 3 skipped", 0, "0 0 3"),
    ("0 passed, 0 failed, 0 skipped", 0, "0 1 0"),  # it looked at nothing
    ("5 passed, 1 failed, 0 skipped", 0, "0 1 0"),
    ("5 passed, 0 failed, 3 skipped", 2, "0 1 0"),
    ("fine", 0, "0 1 0"),
]


def check_ends(scratch):
    """Runs the function script() of check.sh alone."""
    with open(os.path.join(TOP, "scripts/check.sh"), encoding="utf-8") as file:
        function = re.search(r"^script\(\) \{\n.*?^\}\n", file.read(),
                             re.M | re.S).group()
    for last, status, counts in ENDS:
        done = subprocess.run(
            ["sh", "-c", 'say() { echo "$*"; }; result() { echo "=$*"; }\n'
             "work=. remarks=remarks\n" + function +
             'script one sh -c "echo $1; exit $2"', "sh", last, str(status)],
            cwd=scratch, capture_output=True, text=True)
        verdict("\n=one static %s\n" % counts in "\n" + done.stdout,
                "ends: %r and status %d are %s" % (last, status, counts),
                done.stdout + done.stderr)


def main():
    # the folder goes also when somebody ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = tempfile.mkdtemp(prefix="troupe-checks-")
    try:
        good = os.path.join(scratch, "good")
        make_project(good)
        for kind in ("layers", "headers", "symbols", "format", "scripts",
                     "docs"):
            status, output = check(good, kind)
            last = output.splitlines()[-1]
            verdict(status == 0 and " 0 failed" in last,
                    "%s: nothing to find" % kind, output)
        check_accounts(scratch)
        check_ends(scratch)

        def check_broken(number):
            path, old, new, kind, _ = BROKEN[number]
            folder = os.path.join(scratch, str(number))
            make_project(folder, (path, old, new))
            return check(folder, kind)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = list(pool.map(check_broken, range(len(BROKEN))))
        for (path, _, _, kind, words), (status, output) in zip(BROKEN,
                                                               outcomes):
            verdict(status != 0 and failed_saying(output, words),
                    "%s: finds %r in %s" % (kind, words, path),
                    "status %d\n%s" % (status, output))
    finally:
        shutil.rmtree(scratch)
    print("%d passed, %d failed, 0 skipped" % (passed, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
