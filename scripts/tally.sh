# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Counting for the check scripts, sourced by them. A script says pass or fail
# for each thing it looks at, and ends with tally_end.

passed=0
failed=0

pass() {
    passed=$((passed + 1))
    echo "ok   $*"
}

fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
}

# try NAME COMMAND...: passes if the command does; else shows its output.
try() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        pass "$name"
    else
        fail "$name"
        printf '%s\n' "$output" | sed 's/^/    /'
    fi
}

tally_end() {
    echo "$passed passed, $failed failed, 0 skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
