# SPDX-License-Identifier: Apache-2.0
"""Runs a word count over 128 MiB of this machine's own text, and gives the
throughput: bytes by the whole time of the program, from its start to its end.

--system example runs examples/wordcount with --processes workers, --system
single wordcount/wordcount_single.c. Both must find as many words, and as many
different ones, as are counted here when the text is made.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import time

import common

PIECE = 4 << 20
REPEATS = 32
WORD = re.compile(rb"[A-Za-z0-9_'\x80-\xff]+")
SOURCES = ("/usr/share/common-licenses", "/usr/include")
WORD_MAX = 256


def gather():
    """The first PIECE bytes of text found in the sources."""
    piece = bytearray()
    for source in SOURCES:
        for path in sorted(pathlib.Path(source).rglob("*")):
            if len(piece) >= PIECE:
                break
            if path.is_file() and not path.is_symlink():
                text = path.read_bytes()
                if b"\0" not in text:
                    piece += text + b"\n"
    common.check(len(piece) >= PIECE, "not enough text in " +
                 " ".join(SOURCES))
    return bytes(piece[:PIECE - 1]) + b"\n"


def prepare(build):
    """The file of text, and what is to be found in it; made once."""
    text, counts = build / "words.txt", build / "words.json"
    if not counts.exists():
        piece = gather()
        words = collections.Counter(
            word[:WORD_MAX].lower() for word in WORD.findall(piece))
        with open(text, "wb") as file:
            for _ in range(REPEATS):
                file.write(piece)
        counts.write_text(json.dumps({
            "words": sum(words.values()) * REPEATS,
            "distinct": len(words)}), "ascii")
    return text, json.loads(counts.read_text("ascii"))


def single(build, text):
    return [build / "bench/wordcount_single", text], None


def example(build, text, workers):
    directory = os.environ.get("TROUPE_BENCH_DIRECTORY", "/tmp")
    out = pathlib.Path(directory) / f"wordcount-{os.getpid()}.json"
    return [build / "examples/wordcount", "--jobs", str(workers),
            "--json", out, text], out


def main():
    arguments = common.parse("run")
    build = pathlib.Path(os.environ["TROUPE_BENCH_BUILD"])
    text, expected = prepare(build)
    if arguments.system == "single":
        argv, out = single(build, text)
    else:
        argv, out = example(build, text, arguments.processes)
    # Into the page cache: nobody pays for being the first.
    with open(text, "rb") as file:
        while file.read(1 << 20):
            pass
    before = time.monotonic_ns()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, check=False,
                          timeout=common.MEMBER_MAX_SECONDS)
    took = time.monotonic_ns() - before
    common.check(done.returncode == 0, f"status {done.returncode}")
    if out:
        result = json.loads(out.read_text("utf-8"))
        out.unlink()
    else:
        result = json.loads(done.stdout)
    for name, value in expected.items():
        common.check(result.get(name) == value,
                     f"{result.get(name)} {name} instead of {value}")
    common.report("B/s", text.stat().st_size / (took / 1e9))


main()
