#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# The manager dies: live mounts stay and go on, the next manager lists them, and can take them down.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
make_squashfs_image "$T/squash"
mkdir "$T/mnt" "$T/mnt2"
start_fused
id=$(fusectl mount ext4 "$T/image" "$T/mnt")
second=$(fusectl mount squashfs "$T/squash" "$T/mnt2")
echo before >"$T/mnt/file"
mount_status "$id" >"$T/before"
for round in 1 2; do
        say "round $round"
        old=$(manager_pid)
        kill -KILL "$old"
        another() { new=$(manager_pid) && [ "$new" != "$old" ] && fusectl list >/dev/null 2>&1; }
        wait_for "another manager" 10 another
        assert_equal "$(cat "$T/mnt/file")" before
        assert_equal "$(cat "$T/mnt2/file")" text
        assert_equal "$(fusectl --json list | json "sorted(m['id'] for m in d)")" "[$id, $second]"
done
mount_status "$id" >"$T/after"
for key in type source mountpoint uid options server-pid server-uid kernel-mount-id connection device hand-over live-usec; do
        assert_equal "$(json "d['$key']" <"$T/after")" "$(json "d['$key']" <"$T/before")" "$key"
done
say "quota is charged again"
busctl --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Usage | grep -q '"mounts" 2' || fail "usage is wrong"
fusectl umount "$second"
fusectl umount "$T/mnt"
fsck_clean "$T/image"
say "and new mounts are made"
fusectl mount ext4 "$T/image" "$T/mnt" >/dev/null
assert_equal "$(cat "$T/mnt/file")" before
fusectl umount "$T/mnt"
