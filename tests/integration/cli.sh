#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fusectl: exit statuses, output as a table and as JSON, messages that say what would help.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
mkdir "$T/mnt"
start_fused
say "usage"
for bad in "" "nonsense" "mount" "mount ext4" "mount ext4 $T/image" "umount" "umount 1 2" "status" "abort" "policy" "policy explain" "list x" "--nonsense list" "mount ext4 a b c"; do
        # shellcheck disable=SC2086
        expect_fusectl 2 $bad
        [ -n "$OUT" ] || fail "no message for: $bad"
done
expect_fusectl 0 --help
for word in mount umount list status abort types doctor policy; do out_has "$word"; done
expect_fusectl 0 --version

say "what is not there"
expect_fusectl 1 mount ext4 "$T/nothing" "$T/mnt"; out_has "$T/nothing"
expect_fusectl 1 mount ext4 "$T/image" "$T/nowhere"; out_has "$T/nowhere"
for command in umount status abort; do expect_fusectl 4 $command 4711; expect_fusectl 4 $command "$T/mnt"; done

say "tables and JSON"
id=$(fusectl mount ext4 "$T/image" "$T/mnt" -o noatime)
expect_fusectl 0 list
out_has "$T/image"; out_has "$T/mnt"; out_has ext4; out_has live
expect_fusectl 0 status "$id"
for word in "server: *pid [0-9]+, uid [0-9]+" cgroup: uptime: "requests waiting:" options: slots: limits: "last event:"; do out_has "$word"; done
for key in id type state source mountpoint detached uid options server-options uptime-usec kernel-mount-id connection server-pid server-uid cgroup \
        requests-waiting memory processes fds slots device limits hand-over last-event log; do
        field "$id" "$key" >/dev/null || fail "status has no $key"
done
assert_equal "$(field "$id" source)" "$T/image"
assert_equal "$(field "$id" mountpoint)" "$T/mnt"
assert_equal "$(field "$id" uid)" 0
[[ ,$(field "$id" options), == *,noatime,* ]] || fail "options are $(field "$id" options)"
expect_fusectl 0 types
out_has squashfs
expect_fusectl 0 --json types
fusectl umount "$id"
expect_fusectl 0 list
assert_equal "$(fusectl --json list | json d)" "[]" "an empty list"

say "a source that needs -o ro says so"
chmod 444 "$T/image"; chown root "$T/image"; install -d -o $ALICE "$T/alice"
expect_fusectl_as 1 $ALICE mount ext4 "$T/image" "$T/alice"
out_has '-o ro'
say "wrong kinds of source"
mkfifo "$T/fifo"
expect_fusectl 1 mount ext4 "$T/fifo" "$T/mnt"
expect_fusectl 1 mount ext4 /dev/null "$T/mnt"
expect_fusectl 3 mount ext4 "$T/alice" "$T/mnt"
out_has '\[source-kind\]'
say "a file that is no file system: the server's own words"
truncate -s 4M "$T/zero"
expect_fusectl 1 mount ext4 "$T/zero" "$T/mnt"
out_has '[Ss]uperblock|magic|fuse2fs'
say "--json before and behind the command"
assert_equal "$(fusectl --json list)" "$(fusectl list --json)"
fusectl types --json | json 'len(d)' >/dev/null
