# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# need COMMAND...: makes sure that the commands exist; sourced by ./dev. What is
# no command is named PACKAGE=FILE, and there when the file is.
# Installs what is missing from Debian's packages, and says so. Without root
# and sudo it names the packages and ends with status 2.

# The packages a command comes from. A compiler is of no use without the
# headers of the C library.
packages_of() {
    case $1 in
    *=*) echo "${1%%=*}" && return ;;
    esac
    case ${1##*/} in
    cc | gcc) echo gcc libc6-dev ;;
    clang) echo clang libc6-dev ;;
    clang-runtime) echo libclang-rt-dev ;;
    ninja) echo ninja-build ;;
    nm) echo binutils ;;
    pkg-config) echo pkgconf ;;
    *) echo "${1##*/}" ;;
    esac
}

have() {
    case $1 in
    *=*) have_file "${1#*=}" ;;
    cc | gcc | clang) command -v "$1" >/dev/null && have_file /usr/include/stdlib.h ;;
    clang-runtime)
        command -v clang >/dev/null &&
            have_file "$(clang -print-resource-dir)"/lib/linux/libclang_rt.asan-*.a
        ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# Whether the first argument, an expanded pattern, names a file.
have_file() {
    [ -e "$1" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends "$@"
}

# Whether every package is known to apt: its lists may be empty or old.
apt_knows() {
    apt-get install -s -q --no-install-recommends "$@" >/dev/null 2>&1
}

need() {
    missing=
    for command in "$@"; do
        have "$command" || missing="$missing $(packages_of "$command")"
    done
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    missing=${missing% }
    if ! command -v apt-get >/dev/null ||
        { [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; }; then
        echo "dev: missing, please install: $missing" >&2
        exit 2
    fi
    echo "dev: installing with apt: $missing"
    # shellcheck disable=SC2086
    if ! apt_knows $missing || ! apt_install $missing; then
        echo "dev: reading the list of packages anew"
        # shellcheck disable=SC2086
        { as_root apt-get update -q && apt_install $missing; } || {
            echo "dev: cannot install: $missing" >&2
            exit 2
        }
    fi
    for command in "$@"; do
        have "$command" || {
            echo "dev: $command is still missing" >&2
            exit 2
        }
    done
}
