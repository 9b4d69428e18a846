#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mutants.sh [NAME...]: plants each bug of mutants/*.sed in a copy of the tree
# and runs the engine on it. A bug that is not found is a hole in the
# scenarios. Every operation that has kill points must have a mutant.
#
# A mutant is a sed script that changes one file, with lines in front:
#
#   # what: one sentence
#   # operation: the exported functions it breaks
#   # file: src/...
#   # scenario: what --scenario selects
#   # expect: hang, corruption, loss or duplicate
#   # points: at most so many of a scenario, 0 for all; 40 if it is not said
set -eu
cd "$(dirname "$0")/../.."
top=$PWD

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM

field() {
    sed -n "s/^# $1: *//p" "$2"
}

# Only the library and the engine, in the release's build type.
build() {
    cmake --build "$copy/build" -j "$(nproc)" --target crash-engine \
        >"$copy/log" 2>&1
}

git ls-files -co --exclude-standard | while read -r file; do
    [ ! -f "$file" ] || echo "$file"
done | tar -cf - -T - | tar -xf - -C "$copy"
# A planted bug may leave a variable unused.
if ! cmake --preset release -S "$copy" -B "$copy/build" -DTROUPE_WERROR=OFF \
    >"$copy/log" 2>&1 || ! build; then
    cat "$copy/log" >&2
    exit 1
fi
engine=$copy/build/tests/crash/crash-engine

failed=0
found=0
note_failed() {
    echo "mutant $1: FAILED, $2"
    failed=$((failed + 1))
}

try_mutant() {
    script=$1
    name=$(basename "$script" .sed)
    file=$(field file "$script")
    what=$(field what "$script")
    expect=$(field expect "$script")
    scenario=$(field scenario "$script")
    points=$(field points "$script")
    cp "$copy/$file" "$copy/original"
    sed -i -f "$script" "$copy/$file"
    if cmp -s "$copy/$file" "$copy/original"; then
        note_failed "$name" "it changes nothing in $file"
    elif ! build; then
        note_failed "$name" "it does not compile"
        tail -n 20 "$copy/log"
    else
        status=0
        "$engine" --stop-at-first --sample "${points:-40}" --deadline 10 \
            --scenario "$scenario" >"$copy/out" 2>&1 || status=$?
        count=$(sed -n "s/^kill points:.*, ${expect}[a-z]*: \([0-9]*\).*/\1/p" \
            "$copy/out")
        if [ "$status" -eq 0 ] || [ "${count:-0}" -eq 0 ]; then
            note_failed "$name" "not found as $expect ($what)"
            tail -n 5 "$copy/out"
        else
            found=$((found + 1))
            echo "mutant $name: found, $(grep -m 1 "^    $expect" "$copy/out" |
                sed 's/^ *//')"
        fi
    fi
    cp "$copy/original" "$copy/$file"
}

if [ $# -gt 0 ]; then
    for name in "$@"; do
        try_mutant "$top/tests/crash/mutants/$name.sed"
    done
else
    for script in "$top"/tests/crash/mutants/*.sed; do
        try_mutant "$script"
    done
    # Every function with kill points must be broken by some mutant.
    for operation in $("$engine" --operations); do
        grep -qE "^# operation:.*\b$operation\b" \
            "$top"/tests/crash/mutants/*.sed ||
            note_failed "(none)" "no mutant breaks $operation"
    done
fi
echo "mutants found: $found, not found: $failed"
[ "$failed" -eq 0 ] && [ "$found" -gt 0 ]
