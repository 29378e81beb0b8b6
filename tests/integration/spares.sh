#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 60
# Sandboxes made ahead: one is there after a mount and serves the next, holds nothing of the broker's, does not outlive a
# reload or the supervisor, and one that has died is no harm.
. "$(dirname "$0")/../lib/lib.sh"

SPARES=2
start_fused
mkdir -p "$T/mnt" "$T/tree"
echo hello >"$T/tree/file"
mksquashfs "$T/tree" "$T/image" -quiet -no-progress >/dev/null

spare() { # the pid of the sandbox that waits: a child of the broker in a user namespace that is not ours
        local p
        for p in $(cat "/proc/$FUSED_PID/task/$FUSED_PID/children"); do
                [ "$(readlink "/proc/$p/ns/user")" != "$(readlink /proc/self/ns/user)" ] || continue
                [ "$(readlink "/proc/$p/exe")" = "$(readlink "/proc/$FUSED_PID/exe")" ] && { echo "$p"; return 0; }
        done
        return 1
}
there_is_a_spare() { spare >/dev/null; }
use_it() {
        fusectl mount squashfs "$T/image" "$T/mnt" >/dev/null
        [ "$(cat "$T/mnt/file")" = hello ] || fail "wrong content"
        fusectl umount "$T/mnt"
}

say "none before the first mount, one after it"
! there_is_a_spare || fail "there is one already"
use_it
wait_for "a spare sandbox" 10 there_is_a_spare
first=$(spare)

say "it holds one descriptor, and no file of the host"
[ "$(ls "/proc/$first/fd")" = 3 ] || fail "it holds $(ls -l "/proc/$first/fd")"
[ "$(readlink "/proc/$first/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail "it sees the host's mounts"

say "the next mount uses it"
fusectl mount squashfs "$T/image" "$T/mnt" >/dev/null
[ "$(fusectl --json status "$T/mnt" | json 'd["server-pid"]')" = "$first" ] || fail "the mount did not take the spare"
fusectl umount "$T/mnt"
wait_for "another spare" 10 there_is_a_spare

say "a refused mount gives it back"
second=$(spare)
status=0
fusectl mount squashfs "$T/image" /proc 2>/dev/null || status=$?
[ $status = 3 ] || fail "status $status, not 3"
wait_for "the same spare" 10 there_is_a_spare
[ "$(spare)" = "$second" ] || fail "it was thrown away"

say "one that has died is no harm"
kill -KILL "$second"
use_it
wait_for "a spare after that" 10 there_is_a_spare

say "a reload throws it away"
kill -HUP "$FUSED_PID"
no_spare() { ! there_is_a_spare; }
wait_for "the end of the spare" 10 no_spare
use_it
stop_fused
