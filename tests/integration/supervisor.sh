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
umount "$T/mnt"
for pid in $servers; do wait_for "the end of process $pid" 10 process_gone "$pid"; done
find /sys/fs/cgroup -maxdepth 5 -depth -type d \( -path "*fused-$old/*" -o -name "fused-$old" \) -exec rmdir {} + 2>/dev/null || true
start_fused
fusectl mount squashfs "$T/squash" "$T/mnt" >/dev/null
assert_equal "$(cat "$T/mnt/file")" text
fusectl umount "$T/mnt"
