#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# fstab with systemd: .mount units made from it, automounts, idle unmount, nofail, and what is shown of them.
. "$TOP/tests/rigs/lib.sh"
make_squashfs "$T/image"
make_ext4 "$T/disk"
make_ext4 "$T/net"
loop=$(losetup --find --show "$T/disk")
cp -p /etc/fstab "$T/fstab.before" 2>/dev/null || : >"$T/fstab.before"
cleanup() {
        systemctl stop mnt-net.mount mnt-loop.mount mnt-image.mount mnt-auto.automount mnt-auto.mount mnt-missing.mount 2>/dev/null || true
        cp -p "$T/fstab.before" /etc/fstab
        systemctl daemon-reload
        losetup -d "$loop"
}
trap cleanup EXIT
mkdir -p /mnt/loop /mnt/net /mnt/image /mnt/auto /mnt/missing
cat >>/etc/fstab <<END
$loop     /mnt/loop    fused.ext4      noauto,rw
$T/net    /mnt/net     fused.ext4      nofail,rw,_netdev                                                  0 0
$T/image  /mnt/image   fused.squashfs  noauto,ro                                                          0 0
$T/image  /mnt/auto    fused.squashfs  noauto,nofail,x-systemd.automount,x-systemd.idle-timeout=2         0 0
$T/none   /mnt/missing fused.squashfs  nofail                                                             0 0
END
systemctl daemon-reload
systemctl start fused.socket

say "mount(8) with the directory alone; systemd sees the unit"
mount /mnt/image
assert_equal "$(cat /mnt/image/file)" text
assert_equal "$(findmnt -n -o SOURCE,FSTYPE /mnt/image | tr -s ' ')" "$T/image fuse.squashfs"
is() { [ "$(systemctl show -P ActiveState "$1")" = "$2" ]; }
wait_for "the .mount unit" 5 is mnt-image.mount active
assert_equal "$(systemctl show -P What mnt-image.mount)" "$T/image"
umount /mnt/image
wait_for "the unit's end" 5 is mnt-image.mount inactive

say "a loop device, by mount(8): systemd makes no units of fstab's devices in a container"
mount /mnt/loop
assert_equal "$(findmnt -n -o SOURCE,FSTYPE /mnt/loop | tr -s ' ')" "$loop fuse.ext4"
echo written >/mnt/loop/file
mount -a
assert_equal "$(grep -c ' /mnt/loop ' /proc/self/mountinfo)" 1 "mounts after mount -a"
assert_equal "$(units_of ext4 | wc -w)" 2 "units of ext4" # mount -a has mounted /mnt/net, too
wait_for "the .mount unit" 5 is mnt-loop.mount active
systemctl stop mnt-loop.mount
! mountpoint -q /mnt/loop || fail "still mounted"
umount /mnt/net
wait_for "the end of the servers' units" 10 no_units_of ext4
e2fsck -fn "$T/disk"

say "systemctl start and stop of a .mount unit"
wait_for "the .mount unit" 5 is mnt-net.mount inactive
systemctl start mnt-net.mount
assert_equal "$(findmnt -n -o SOURCE,FSTYPE /mnt/net | tr -s ' ')" "$T/net fuse.ext4"
systemctl stop mnt-net.mount
! mountpoint -q /mnt/net || fail "still mounted"

say "the target of fstab's mounts: what has nofail and is not there does not fail it"
systemctl start remote-fs.target
wait_for "the mount with _netdev" 10 mountpoint -q /mnt/net
! mountpoint -q /mnt/missing || fail "something is mounted on /mnt/missing"
assert_equal "$(systemctl is-active remote-fs.target)" active
systemctl stop mnt-net.mount

say "automount: at the first access, and taken down when idle"
systemctl start mnt-auto.automount
assert_equal "$(findmnt -n -o FSTYPE /mnt/auto)" autofs
assert_equal "$(fusectl --json list | json "[m for m in d if m['mountpoint'] == '/mnt/auto']")" "[]"
assert_equal "$(cat /mnt/auto/file)" text
assert_equal "$(findmnt -n -o FSTYPE /mnt/auto | tail -n 1)" fuse.squashfs
idle() { ! grep -q ' /mnt/auto .* fuse' /proc/self/mountinfo; } # findmnt would look at the place, and be a use of it
wait_for "the idle unmount" 20 idle
assert_equal "$(cat /mnt/auto/file)" text "at the second access"
fusectl umount /mnt/auto
assert_equal "$(findmnt -n -o FSTYPE /mnt/auto)" autofs
assert_equal "$(cat /mnt/auto/file)" text "after fusectl umount"
kill -KILL "$(field /mnt/auto server-pid)"
wait_for "the end of a mount whose server died" 10 idle
assert_equal "$(cat /mnt/auto/file)" text "after a crash: mounted anew"
systemctl stop mnt-auto.automount
wait_for "the end of the units" 10 no_units_of squashfs

say "an automount point is opened without setting it off"
systemctl start mnt-auto.automount
fusectl umount /mnt/auto && fail "there is nothing to unmount"
findmnt -n -o FSTYPE /mnt/auto | grep -q fuse && fail "the automount was set off"
systemctl stop mnt-auto.automount
