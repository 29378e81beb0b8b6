#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Every way a mount ends in peace: by id, by mount point, busy, lazy, from outside with umount(8), detached.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
mkdir "$T/mnt" "$T/other"
start_fused
mount_it() { id=$(fusectl mount ext4 "$T/image" "$T/mnt"); }
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }

say "by id, by mount point, by another name of it"
mount_it; fusectl umount "$id"
mount_it; fusectl umount "$T/mnt"
ln -s mnt "$T/link"
mount_it; fusectl umount "$T/link/"
fsck_clean "$T/image"

say "busy"
mount_it
echo text >"$T/mnt/file"
exec 9<"$T/mnt/file"
expect_fusectl 1 umount "$id"
out_has '[Bb]usy|in use'
assert_equal "$(field "$id" state)" live
assert_equal "$(cat "$T/mnt/file")" text
say "lazy: gone from sight, served until the last user leaves"
fusectl umount "$id" --lazy 9<&- &
lazy=$!
wait_for "the mount point" 5 not_mounted "$T/mnt"
assert_equal "$(cat <&9)" text "what the open file reads"
exec 9<&-
wait $lazy
wait_for "the end of the mount" 10 gone
fsck_clean "$T/image"

say "from outside"
mount_it
umount "$T/mnt"
wait_for "fused to notice umount(8)" 10 gone
wait_for "the end of the server" 5 no_servers
fsck_clean "$T/image"

say "what takes over its connection's number is somebody else's, and not aborted"
make_squashfs_image "$T/squash"
for _ in $(seq 15); do
        fusectl mount squashfs "$T/squash" "$T/mnt" >/dev/null
        umount "$T/mnt"
        squashfuse_ll "$T/squash" "$T/other"
        sleep 0.05
        text=$(cat "$T/other/file") || fail "a mount that is not fused's was aborted"
        assert_equal "$text" text
        umount "$T/other"
        wait_for "fused to notice umount(8)" 10 gone
done

say "not mounted by fused"
native_mount -t tmpfs none "$T/other"
expect_fusectl 4 umount "$T/other"
expect_fusectl 4 umount 999999
is_mounted "$T/other" || fail "it unmounted what was not its own"
umount "$T/other"

say "a mount over a mount: each is found by its own identity, the upper one first"
mount_it
cp "$T/image" "$T/image2"
upper=$(fusectl mount ext4 "$T/image2" "$T/other")
mkdir "$T/mnt/below"
expect_fusectl 3 mount ext4 "$T/image2" "$T/mnt/below"
out_has '\[mountpoint'
fusectl umount "$upper"
fusectl umount "$id"
