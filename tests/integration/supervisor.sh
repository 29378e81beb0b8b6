#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fused itself: its command line, one supervisor per directory, a bad directory, a stale socket, being killed.
. "$TOP/tests/lib/lib.sh"
FUSED="$STAGE/sbin/fused --policy $STAGE/lib/fused --libexec-directory $STAGE/libexec/fused"
expect_status 0 "$STAGE/sbin/fused" --help
out_has '--runtime-directory'
expect_status 0 "$STAGE/sbin/fused" --version
for bad in "--nonsense" "extra" "--launcher nonsense" "--policy /nonexistent" "--policy"; do
        # shellcheck disable=SC2086
        expect_status 2 "$STAGE/sbin/fused" --runtime-directory "$T/run" $bad
done
# shellcheck disable=SC2086
expect_status 1 setpriv --reuid $ALICE --clear-groups $FUSED --runtime-directory "$T/run"
out_has 'root'
mkdir -m 777 "$T/open"
chmod 777 "$T/open"
# shellcheck disable=SC2086
expect_status 1 $FUSED --runtime-directory "$T/open"
out_has 'writable'
rmdir "$T/open"

start_fused
# shellcheck disable=SC2086
expect_status 1 $FUSED --runtime-directory "$T/run"
out_has 'another'
fusectl types >/dev/null

say "without it, fusectl says so"
expect_status 1 "$STAGE/bin/fusectl" --runtime-directory "$T/nowhere" list
out_has "$T/nowhere"

say "killed: the manager ends with it, the tree is served on, and the next one starts over the stale socket"
mkdir "$T/mnt"; make_squashfs_image "$T/squash"
fusectl mount squashfs "$T/squash" "$T/mnt" >/dev/null
servers=$(server_pids) manager=$(manager_pid) old=$FUSED_PID
kill -KILL "$old"; wait "$old" 2>/dev/null || true
FUSED_PID=
wait_for "the end of the manager" 10 process_gone "$manager"
assert_equal "$(cat "$T/mnt/file")" text "a mount without its supervisor"

say "the next one takes the mount over: it is listed, watched, and can be taken down"
ls -l "$T/run/mounts"
start_fused
assert_equal "$(fusectl --json list | json "[(m['id'], m['type'], m['state']) for m in d]")" "[(1, 'squashfs', 'live')]"
assert_equal "$(field 1 mountpoint)" "$T/mnt"
mkdir "$T/other"
assert_equal "$(fusectl mount squashfs "$T/squash" "$T/other")" 2 "ids go on"
exec 5<"$T/mnt/file"
expect_status 1 "$STAGE/bin/fusectl" --runtime-directory "$T/run" umount 1
out_has 'in use'
exec 5<&-
fusectl umount 1
! mountpoint -q "$T/mnt" || fail "it is still mounted"
fusectl umount 2
for pid in $servers; do wait_for "the end of process $pid" 10 process_gone "$pid"; done
say "a server that dies while nobody watches: its dead mount is taken down by the next one"
fusectl mount squashfs "$T/squash" "$T/mnt" >/dev/null
servers=$(server_pids) old=$FUSED_PID
kill -KILL "$old"; wait "$old" 2>/dev/null || true
FUSED_PID=
for pid in $servers; do kill -KILL "$pid" 2>/dev/null || true; done
start_fused
not_mounted() { ! mountpoint -q "$T/mnt" 2>/dev/null; }
wait_for "the end of the dead mount" 5 not_mounted
[ "$(fusectl --json list | json 'len(d)')" = 0 ]

say "nonsense in its place is not believed"
stop_fused
mkdir -p "$T/run/mounts"
head -c 4096 /dev/urandom >"$T/run/mounts/7"
start_fused
grep -q 'mounts/7 is not understood' "$T/fused.log"
[ -z "$(find /sys/fs/cgroup -maxdepth 5 -name "fused-$old" 2>/dev/null)" ] || fail "a cgroup of the supervisor that was killed is left"
fusectl mount squashfs "$T/squash" "$T/mnt" >/dev/null
assert_equal "$(cat "$T/mnt/file")" text
fusectl umount "$T/mnt"
