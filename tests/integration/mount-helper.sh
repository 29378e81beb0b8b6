#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# mount(8), fstab, findmnt(8) and umount(8) with types fused.TYPE, through mount.fused.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/mount8.sh"
make_squashfs_image "$T/image"
mkdir "$T/mnt" "$T/tree"
echo ext >"$T/tree/file"
start_fused
use_mount_helper; use_passwd
shown() { findmnt -n -o "$1" "$T/mnt"; }

say "mount -t fused.TYPE: source and type are shown, umount(8) ends it"
expect_status 0 mount -t fused.squashfs -o "ro,noatime,$HELPER_OPTION" "$T/image" "$T/mnt"
assert_equal "$OUT" "" "output"
assert_equal "$(cat "$T/mnt/file")" text
assert_equal "$(shown SOURCE)" "$T/image"
assert_equal "$(shown FSTYPE)" fuse.squashfs
[[ ,$(shown OPTIONS), == *,nosuid,*nodev,*noatime,* ]] || fail "options: $(shown OPTIONS)"
umount "$T/mnt"
not_mounted "$T/mnt" || fail "still mounted"
assert_nothing_held

say "the generic options of fstab"
use_fstab "$T/image $T/mnt fused.squashfs defaults,noauto,nofail,_netdev,user,group,relatime,strictatime,lazytime,noexec,comment=x,x-systemd.automount,X-mount.mkdir,$HELPER_OPTION 0 0"
mount "$T/mnt"
[[ ,$(shown OPTIONS), == *,nosuid,*nodev,*noexec,* ]] || fail "options: $(shown OPTIONS)"
expect_status 0 mount -a -O _netdev # it is mounted: nothing to do
assert_equal "$(grep -c " $T/mnt " /proc/self/mountinfo)" 1
umount "$T/mnt"

say "a loop device with ext4, rw, by a line that fstab already has"
make_ext4_image "$T/disk" 16M "$T/tree"
attach_loop "$T/disk"
use_fstab "$LOOP $T/mnt fused.ext4 rw,auto,$HELPER_OPTION 0 0"
mount -a
assert_equal "$(shown SOURCE)" "$LOOP"
echo more >"$T/mnt/more"
mount -a
assert_equal "$(grep -c " $T/mnt " /proc/self/mountinfo)" 1 "mounts after mount -a twice"
umount "$LOOP"
wait_for "the end of the server" 10 no_servers
fsck_clean "$T/disk"

say "a directory, with a server that is told of its source by libfuse's protocol; a source whose name the kernel's tables cannot show"
expect_status 0 mount -t fused.mirror -o "$HELPER_OPTION" "$T/tree" "$T/mnt"
assert_equal "$(shown SOURCE) $(shown FSTYPE)" "$T/tree fuse.mirror"
umount "$T/mnt"
cp "$T/image" "$T/an image,ro"
mount -t fused.squashfs -o "$HELPER_OPTION" "$T/an image,ro" "$T/mnt"
assert_equal "$(shown SOURCE)" squashfs
assert_equal "$(field "$T/mnt" source)" "$T/an image,ro"
umount "$T/mnt"

say "mount -o loop makes the device itself, and it goes with the mount"
mount -t fused.ext4 -o "loop,ro,$HELPER_OPTION" "$T/image2" "$T/mnt" 2>/dev/null && fail "an image that is not there was mounted"
cp "$T/disk" "$T/disk2"
mount -t fused.ext4 -o "loop,$HELPER_OPTION" "$T/disk2" "$T/mnt"
[[ $(shown SOURCE) == /dev/loop* ]] || fail "the source is $(shown SOURCE)"
umount "$T/mnt"
wait_for "the end of the loop device" 10 bash -c "! losetup -n -O BACK-FILE | grep -q $T/disk2"

say "what cannot be: exit status and one message"
expect_status 32 mount -t fused.squashfs -o "$HELPER_OPTION" "$T/missing" "$T/mnt"
assert_equal "$(wc -l <<<"$OUT")" 1 "lines of: $OUT"
expect_status 32 mount -t fused.squashfs -o "$HELPER_OPTION" "$T/image" "$T/nowhere"
expect_status 1 mount -t fused.squashfs -o "$HELPER_OPTION,nonsense=1" "$T/image" "$T/mnt"
out_has 'nonsense'
expect_status 1 mount -t fused.nonsense -o "$HELPER_OPTION" "$T/image" "$T/mnt"
out_has 'no-such-type'
expect_status 1 mount -t fused -o "$HELPER_OPTION" "$T/image" "$T/mnt"
expect_status 1 mount -t fused.squashfs -o "remount,$HELPER_OPTION" "$T/image" "$T/mnt"
expect_status 32 mount -t fused.squashfs -o "fused.runtime-directory=$T/nobody" "$T/image" "$T/mnt"
out_has 'is fused running'
expect_status 1 /sbin/mount.fused "$T/image" "$T/mnt" -t fused.squashfs -x
not_mounted "$T/mnt" || fail "something is mounted"

say "nofail is for a source that is not there, not for one that is broken"
expect_status 0 mount -t fused.squashfs -o "nofail,$HELPER_OPTION" "$T/missing" "$T/mnt"
assert_equal "$OUT" "" "output"
echo broken >"$T/broken"
expect_status 32 mount -t fused.squashfs -o "nofail,$HELPER_OPTION" "$T/broken" "$T/mnt"

say "-f mounts nothing, -v says something, slots and -N"
expect_status 0 mount -f -v -t fused.squashfs -o "$HELPER_OPTION" "$T/image" "$T/mnt"
out_has 'would be asked for'
not_mounted "$T/mnt" || fail "-f has mounted"
expect_status 1 mount -t fused.squashfs -o "slot.nonsense=$T/tree/file,$HELPER_OPTION" "$T/image" "$T/mnt"
out_has 'slot-unknown'
unshare --mount --propagation private sleep 60 &
other=$!
at_end "kill $other 2>/dev/null"
wait_for "the other namespace" 5 bash -c "[ \$(readlink /proc/$other/ns/mnt) != \$(readlink /proc/self/ns/mnt) ]"
mount -N "/proc/$other/ns/mnt" -t fused.squashfs -o "$HELPER_OPTION" "$T/image" "$T/mnt"
not_mounted "$T/mnt" || fail "-N has mounted here"
assert_equal "$(nsenter -t "$other" -m cat "$T/mnt/file")" text
umount -N "/proc/$other/ns/mnt" "$T/mnt"
kill "$other"; wait "$other" || true

say "an entry with 'user': as the user, on the user's own directory; the same user may unmount, another may not"
install -d -o $ALICE -g $ALICE -m 755 "$T/alice" "$T/alice/mnt"
use_fstab "$T/image $T/alice/mnt fused.squashfs user,noauto,$HELPER_OPTION 0 0" "$T/image $T/mnt fused.squashfs user,noauto,$HELPER_OPTION 0 0"
as_login $ALICE mount "$T/alice/mnt"
assert_equal "$(field "$T/alice/mnt" uid)" $ALICE
assert_equal "$(as_user $ALICE cat "$T/alice/mnt/file")" text
expect_status 32 setpriv --reuid $BOB --regid $BOB --clear-groups -- umount "$T/alice/mnt"
as_login $ALICE umount "$T/alice/mnt"
expect_status 1 setpriv --reuid $ALICE --regid $ALICE --clear-groups -- mount "$T/mnt" # fstab allows it, but the directory is root's
out_has 'mountpoint'

say "without a line in fstab, mount(8) of util-linux 2.36 and newer runs the helper as the user, too"
as_login $ALICE mount -t fused.squashfs -o "$HELPER_OPTION" "$T/image" "$T/alice/mnt"
assert_equal "$(field "$T/alice/mnt" uid)" $ALICE
as_login $ALICE umount "$T/alice/mnt"
