#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mutants.sh [NAME...]: plants each bug of mutants/*.sed in a copy of the tree
# and runs the engine on it. A bug that is not found is a hole in the
# scenarios, and so is one that is there without the bug: the scenarios run on
# the untouched copy first. Every operation that has kill points must have a
# mutant, which is found in a scenario of that operation.
#
# A mutant is a sed script that changes one file, with lines in front:
#
#   # what: one sentence
#   # operation: the exported functions it breaks; found in each of them
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

points_of() {
    points=$(field points "$1")
    echo "${points:-40}"
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
"$engine" --covers >"$copy/covers"
"$engine" --operations >"$copy/operations"

failed=0
found=0
note_failed() {
    echo "mutant $1: FAILED, $2"
    failed=$((failed + 1))
}

# All that the mutants select, once, with as many points: nothing is found.
try_untouched() {
    for script in "$@"; do
        points_of "$script"
    done | sort -u >"$copy/samples"
    while read -r sample; do
        selection=
        for script in "$@"; do
            [ "$(points_of "$script")" != "$sample" ] ||
                selection=$selection$(field scenario "$script"),
        done
        if ! "$engine" --sample "$sample" --deadline 10 --quiet \
            --scenario "$selection" >"$copy/out" 2>&1; then
            note_failed "(none)" "found without one, at most $sample points"
            cat "$copy/out"
        fi
    done <"$copy/samples"
}

# The operations in whose scenarios the results have a finding as expected: a
# scenario's line comes first, then its findings, indented.
found_in() {
    awk -F '\t' -v kind="    $1" '
        NR == FNR { functions[$1] = functions[$1] " " $2; next }
        index($0, "    ") != 1 {
            scenario = ""
            for (name in functions)
                if (index($0, name " ") == 1)
                    scenario = name
        }
        index($0, kind) == 1 && scenario != "" {
            count = split(functions[scenario], list, " ")
            for (i = 1; i <= count; i++)
                print list[i]
        }' "$copy/covers" "$copy/out" | sort -u
}

try_mutant() {
    script=$1
    name=$(basename "$script" .sed)
    file=$(field file "$script")
    what=$(field what "$script")
    expect=$(field expect "$script")
    missing=
    cp "$copy/$file" "$copy/original"
    sed -i -f "$script" "$copy/$file"
    if cmp -s "$copy/$file" "$copy/original"; then
        note_failed "$name" "it changes nothing in $file"
    elif ! build; then
        note_failed "$name" "it does not compile"
        tail -n 20 "$copy/log"
    else
        status=0
        "$engine" --stop-at-first --sample "$(points_of "$script")" \
            --deadline 10 --scenario "$(field scenario "$script")" \
            >"$copy/out" 2>&1 || status=$?
        found_in "$expect" >"$copy/found"
        for operation in $(field operation "$script"); do
            if grep -qx "$operation" "$copy/found"; then
                echo "$operation" >>"$copy/broken"
            else
                missing="$missing $operation"
            fi
        done
        if [ "$status" -eq 0 ] || [ -n "$missing" ]; then
            note_failed "$name" "not found as $expect in$missing ($what)"
            tail -n 5 "$copy/out"
        else
            found=$((found + 1))
            echo "mutant $name: found, $(grep -m 1 "^    $expect" "$copy/out" |
                sed 's/^ *//')"
        fi
    fi
    cp "$copy/original" "$copy/$file"
}

all=$#
if [ $# -gt 0 ]; then
    for name in "$@"; do
        set -- "$@" "$top/tests/crash/mutants/$name.sed"
        shift
    done
else
    set -- "$top"/tests/crash/mutants/*.sed
fi
: >"$copy/broken"
try_untouched "$@"
for script in "$@"; do
    try_mutant "$script"
done
# Every function with kill points must have been broken by some mutant.
if [ "$all" -eq 0 ]; then
    while read -r operation; do
        grep -qx "$operation" "$copy/broken" ||
            note_failed "(none)" "no mutant breaks $operation"
    done <"$copy/operations"
fi
echo "mutants found: $found, not found: $failed"
[ "$failed" -eq 0 ] && [ "$found" -gt 0 ]
