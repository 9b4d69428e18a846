#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./dev check [PART...]: everything that must hold before a commit. The parts
# are `static` (headers, layers, format, scripts, the checks' own tests, the
# benchmark driver, models, symbols, manual pages, installation, README) and the
# configurations below; without arguments all of them. Ends with a table of
# suites and configurations, and the line `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/.." || exit 2

# Name, compiler, preset, factor for the deadlines of the tests, and the tests
# that are left out, for they run with the other compiler: kill points are
# stepped in gcc's code; faults are planted in gcc's, and under clang's
# sanitizers.
configurations='
gcc-release   gcc   release 1 none
clang-release clang release 1 ^crash/|_shim\.c$
gcc-asan      gcc   asan    4 _shim\.c$|^stress/
clang-asan    clang asan    4 none
gcc-tsan      gcc   tsan    4 none
clang-tsan    clang tsan    4 none
'

jobs=$(nproc 2>/dev/null || echo 2)
work=$PWD/build/check
# "SUITE CONFIGURATION PASSED FAILED SKIPPED", a line for each program
results=$work/results
# what failed and what was skipped, and why
remarks=$work/remarks
mkdir -p "$work"
: >"$results"
: >"$remarks"

say() {
    printf '%s\n' "$*"
}

# result SUITE CONFIGURATION PASSED FAILED SKIPPED
result() {
    echo "$*" >>"$results"
}

# script SUITE COMMAND...: a check that ends with the line of counts. One that
# does not, that looked at nothing, or whose status does not fit its counts, has
# itself failed.
script() {
    suite=$1
    shift
    log=$work/$suite.log
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    counts=$(tail -n 1 "$log" |
        sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    case $counts,$status in
    [1-9]*' 0 '*,0 | '0 0 '[1-9]*,0 | *' '[1-9]*' '*,[1-9]*) ;;
    *)
        counts='0 1 0'
        say "FAIL $suite: ended with status $status" | tee -a "$remarks"
        tail -n 20 "$log"
        ;;
    esac
    # shellcheck disable=SC2086
    result "$suite" static $counts
    # a failure with the indented lines that explain it
    awk '/^FAIL / { shown = 1; print; next } /^[^ ]/ { shown = 0 } shown' "$log"
    sed -n "s/^FAIL /FAIL $suite: /p;s/^skip /skip $suite: /p" "$log" \
        >>"$remarks"
    say "static: $suite: $counts" |
        sed 's/: \([0-9]*\) \([0-9]*\) \([0-9]*\)$/: \1 passed, \2 failed, \3 skipped/'
}

# build NAME COMPILER PRESET WITHOUT: configures and builds in build/check/NAME,
# quietly unless it fails.
build() {
    CC=$2 cmake --preset "$3" -B "$work/$1" "-DTROUPE_TESTS_WITHOUT=$4" \
        >"$work/$1.build.log" 2>&1 &&
        cmake --build "$work/$1" -j "$jobs" >>"$work/$1.build.log" 2>&1
}

# Adds up what ctest says of each program with what the program says of its
# own tests. A program that gave no account, or whose end does not fit it,
# counts as one test; one that could not be started has failed.
account() {
    # shellcheck disable=SC2016
    awk -v configuration="$1" '
        function emit(suite, passed, failed, skipped) {
            print suite, configuration, passed, failed, skipped
        }
        FILENAME == ARGV[1] {
            if ($1 == "count") {
                name = $2
                passed[name] += $3
                failed[name] += $4
                skipped[name] += $5
                known[name] = 1
            }
            next
        }
        /<testcase / {
            match($0, / name="[^"]*"/)
            name = substr($0, RSTART + 7, RLENGTH - 8)
            match($0, / status="[^"]*"/)
            status = substr($0, RSTART + 9, RLENGTH - 10)
            suite = name
            sub(/\/.*/, "", suite)
            good = status == "run"
            if (!(name in known)) {
                off = status == "disabled"
                emit(suite, good, !good && !off, off)
            } else if (good == (failed[name] > 0)) {
                emit(suite, passed[name], failed[name] + 1, skipped[name])
            } else {
                emit(suite, passed[name], failed[name], skipped[name])
            }
        }' "$2" "$3"
}

# build_failed NAME CONFIGURATION
build_failed() {
    say "FAIL $2: does not build" | tee -a "$remarks"
    if grep -q '^FAILED: ' "$work/$1.build.log"; then
        sed -n '/^FAILED: /,$p' "$work/$1.build.log" | head -n 60
    else
        tail -n 20 "$work/$1.build.log"
    fi
    result build "$2" 0 1 0
}

# configuration NAME COMPILER PRESET SCALE WITHOUT
configuration() {
    say "$1: building"
    if ! build "$1" "$2" "$3" "$5"; then
        build_failed "$1" "$1"
        return
    fi
    result build "$1" 1 0 0
    report=$work/$1.report
    : >"$report"
    rm -f "$work/$1.xml"
    # one more at a time than there are processors: many wait for a deadline
    TROUPE_TEST_REPORT=$report TROUPE_TEST_TIMEOUT_SCALE=$4 \
        ctest --test-dir "$work/$1" -j "$((jobs + 1))" --no-tests=error \
        --output-on-failure --output-junit "$work/$1.xml" \
        >"$work/$1.test.log" 2>&1 </dev/null
    if [ ! -s "$work/$1.xml" ]; then
        say "FAIL $1: ctest ran no test" | tee -a "$remarks"
        tail -n 20 "$work/$1.test.log"
        result tests "$1" 0 1 0
        return
    fi
    account "$1" "$report" "$work/$1.xml" >"$work/$1.results"
    cat "$work/$1.results" >>"$results"
    # what the failing programs said
    awk '/^    Start |^[0-9]+% tests passed/ { shown = 0 }
        / Test +#[0-9]+: / { shown = /\*\*\*/ } shown' "$work/$1.test.log"
    sed -n "/status=\"run\"/d
        s/.*<testcase name=\"\([^\"]*\)\".*status=\"disabled\".*/skip $1: \1: disabled/p
        s/.*<testcase name=\"\([^\"]*\)\".*/FAIL $1: \1/p" \
        "$work/$1.xml" >>"$remarks"
    sed -n "s/^fail /FAIL $1: /p;s/^skip /skip $1: /p" \
        "$report" >>"$remarks"
    awk -v name="$1" '
        { p += $3; f += $4; s += $5 }
        END { printf "%s: %d passed, %d failed, %d skipped\n", name, p, f, s }
    ' "$work/$1.results"
}

static() {
    # The models need one processor, and are waited for at the end. What a
    # shell starts beside itself would not hear an interrupt.
    script models env --default-signal=INT sh tests/model/run &
    models=$!
    script headers sh scripts/check-headers.sh
    script layers python3 scripts/check_layers.py
    script format sh scripts/check-format.sh
    script scripts sh scripts/check-scripts.sh
    script checks python3 tests/checks/run.py
    script bench python3 -B bench/selftest.py
    say "static: building"
    if build gcc-release gcc release none; then
        script symbols python3 scripts/check_symbols.py \
            "$work/gcc-release/libtroupe.so"
        script docs python3 -B scripts/check_docs.py \
            "$work/gcc-release/libtroupe.so"
        script install sh scripts/check-install.sh "$work/gcc-release"
        script readme python3 tests/readme/run.py
    else
        build_failed gcc-release static
    fi
}

# The table: suites down, configurations across, "passed" or "passed/failed!"
# or "passed+skipped" in the cells.
table() {
    # shellcheck disable=SC2016
    awk '
        {
            if (!($1 in suite)) { suite[$1] = ++suites; row[suites] = $1 }
            if (!($2 in column)) { column[$2] = ++columns; head[columns] = $2 }
            p[$1, $2] += $3; f[$1, $2] += $4; s[$1, $2] += $5
        }
        END {
            printf "%-12s", "suite"
            for (c = 1; c <= columns; c++) printf " %14s", head[c]
            printf "\n"
            for (r = 1; r <= suites; r++) {
                printf "%-12s", row[r]
                for (c = 1; c <= columns; c++) {
                    key = row[r] SUBSEP head[c]
                    cell = "-"
                    if (key in p) {
                        cell = p[key] ""
                        if (f[key]) cell = cell " failed " f[key]
                        if (s[key]) cell = cell " skipped " s[key]
                    }
                    printf " %14s", cell
                }
                printf "\n"
            }
        }' "$results"
}

wanted() {
    [ -z "$parts" ] && return 0
    case " $parts " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

parts=$*
for part in $parts; do
    [ "$part" = static ] || printf '%s\n' "$configurations" |
        grep -q "^$part " || {
        say "check: no part '$part'; there are static$(printf '%s' \
            "$configurations" | sed 's/ .*//' | tr '\n' ' ')" >&2
        exit 2
    }
done

started=$(date +%s)
! wanted static || static
while read -r name compiler preset scale without; do
    if [ -n "$name" ] && wanted "$name"; then
        configuration "$name" "$compiler" "$preset" "$scale" "$without"
    fi
done <<TEXT
$configurations
TEXT
if wanted static; then
    wait "$models"
    # somebody may have ended it, for lack of memory
    grep -q '^models ' "$results" || {
        say "FAIL models: gave no account" | tee -a "$remarks"
        result models static 0 1 0
    }
fi

say
if [ -s "$remarks" ]; then
    sort -u "$remarks"
    say
fi
table
say
say "took $(($(date +%s) - started)) s"
awk '
    { p += $3; f += $4; s += $5 }
    END {
        printf "%d passed, %d failed, %d skipped\n", p, f, s
        exit f > 0 || p == 0
    }' "$results"
