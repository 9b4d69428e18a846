# SPDX-License-Identifier: Apache-2.0
# what: a daemon goes on when its parent is dead
# operation: troupe_process_start
# file: src/os/child.c
# scenario: troupe_process_start/a daemon
# expect: hang
s/fcntl(read_end, F_SETSIG, SIGKILL)/fcntl(read_end, F_SETSIG, SIGURG)/
