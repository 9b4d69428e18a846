#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./dev demo: counts the words in files of this machine with a pool of
# processes, and then once more while the workers are being killed. Its test
# has it do less: with other paths as arguments, TROUPE_DEMO_LEAST bytes, and
# TROUPE_DEMO_KILLS workers killed.
set -eu
cd "$(dirname "$0")/.."
wordcount=${TROUPE_BUILD:-build/release}/examples/wordcount
least=${TROUPE_DEMO_LEAST:-268435456} # bytes: 256 MiB
kills_wanted=${TROUPE_DEMO_KILLS:-20}
interrupted_wanted=$((kills_wanted / 2))
output=$(mktemp)
trap 'rm -f "$output"' EXIT
trap 'exit 130' INT TERM

say() {
    printf '%s\n' "$@"
}

# The number behind "$1: " in the output.
figure() {
    sed -n "s/^$1: //p" "$output"
}

# The bytes below the paths that count: not those of binary files.
size_of() {
    "$wordcount" --top 0 "$@" >"$output" 2>/dev/null
    figure bytes
}

if [ $# -eq 0 ]; then
    for path in /usr/share/common-licenses /usr/include /usr/share/doc; do
        [ ! -d "$path" ] || set -- "$@" "$path"
    done
fi
bytes=0
[ $# -eq 0 ] || bytes=$(size_of "$@")
if [ "$bytes" -eq 0 ]; then
    set -- src # a machine without any of those has at least this library
    bytes=$(size_of "$@")
fi

say "Troupe demo: counting the words of the files below" "" "    $*" "" \
    "with one worker process for each processor. The files are given several" \
    "times over, so that there is something to do." ""

# The paths, repeated until they are $1 times as much as there must be.
repeated() {
    factor=$1
    shift
    times=$(((least * factor + bytes - 1) / bytes))
    list=
    while [ "$times" -gt 0 ]; do
        list="$list $*"
        times=$((times - 1))
    done
}

say "1. In peace" ""
repeated 1 "$@"
# shellcheck disable=SC2086
"$wordcount" $list

say "" "2. The same while a helper kills a worker, chosen at random, every 50 ms" \
    "   (SIGKILL: no chance to clean up). What a dead worker had not finished is" \
    "   done again by another, what it had finished counts once. At the end the" \
    "   words are counted once more, in one process and by other code, and every" \
    "   word's count is compared." ""
factor=1
while :; do
    repeated "$factor" "$@"
    # shellcheck disable=SC2086
    if "$wordcount" --chaos --verify --top 3 $list >"$output"; then
        status=0
    else
        status=$?
    fi
    kills=$(figure 'kills survived')
    interrupted=$(figure 'tasks interrupted')
    # A fast machine is done before so many were killed: give it more to do.
    if [ "$status" -eq 0 ] && [ "$factor" -lt 32 ] &&
        { [ "$kills" -lt "$kills_wanted" ] ||
            [ "$interrupted" -lt "$interrupted_wanted" ]; }; then
        factor=$((factor * 2))
        continue
    fi
    break
done
cat "$output"
if [ "$status" -ne 0 ]; then
    say "" "The count failed (status $status)."
    exit 1
fi
if [ "$kills" -lt "$kills_wanted" ] ||
    [ "$interrupted" -lt "$interrupted_wanted" ]; then
    say "" "The count is exact, but fewer workers were killed than the demo wants" \
        "to show: $kills of $kills_wanted, $interrupted of $interrupted_wanted at work."
    exit 1
fi
say "" "$kills workers were killed, $interrupted of them in the middle of a task, and not a" \
    "single word was lost or counted twice."
