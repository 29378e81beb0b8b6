#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A mount through socket activation: fused starts when somebody asks, a unit per mount, its cgroup, its log, its end.
. "$TOP/tests/rigs/lib.sh"
systemctl stop fused.service
systemctl enable --now fused.socket
systemctl is-active fuse-service-ext4.socket fuse-service-squashfs.socket fuse-service-mirror.socket
assert_equal "$(stat -c '%a %u' /run/filesystems/ext4)" "600 0" "who may connect"
assert_equal "$(systemctl is-active fused.service || true)" inactive
make_squashfs "$T/image"
make_ext4 "$T/ext4"
mkdir "$T/mnt" "$T/mnt2" "$T/mnt3"

say "the first request starts fused, and a unit"
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
assert_equal "$(cat "$T/mnt/file")" text
assert_equal "$(systemctl is-active fused.service)" active
assert_equal "$(units_of squashfs | wc -l)" 1 "units"
unit=$(units_of squashfs)
pid=$(main_pid "$unit")
assert_equal "$(field "$id" server-pid)" "$pid" "server"
field "$id" cgroup | grep -qF "$unit" || fail "status does not name the unit"
systemctl status "$unit" --no-pager | tee "$T/status"
grep -q 'fused-servers.slice' "$T/status" || fail "not in its slice"
grep -q 'squashfuse_ll' "$T/status" || fail "its cgroup is not shown"

say "its privilege: none"
grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' "/proc/$pid/status" | grep -qv '0000000000000000$' && fail "capabilities: $(grep Cap "/proc/$pid/status")"
grep -q '^NoNewPrivs:.*1' "/proc/$pid/status"
grep -q '^Seccomp:.*2' "/proc/$pid/status"
uid=$(field "$id" server-uid)
[ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] || fail "uid $uid is no dynamic one"
for ns in user net ipc mnt uts; do
        [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/1/ns/$ns")" ] || fail "it is in the host's $ns namespace"
done
for hidden in home srv boot opt; do [ ! -e "/proc/$pid/root/$hidden" ] || fail "it sees /$hidden"; done
! grep -q " $T/mnt " "/proc/$pid/mountinfo" || fail "the mount is in the namespace of its server"

say "the other ways to hand over: ext4 (libfuse 2), mirror (service protocol, directory tree)"
second=$(fusectl mount ext4 "$T/ext4" "$T/mnt2")
echo data >"$T/mnt2/file"
mkdir "$T/source"
echo mirrored >"$T/source/a"
third=$(fusectl mount mirror "$T/source" "$T/mnt3")
assert_equal "$(cat "$T/mnt3/a")" mirrored
echo new >"$T/mnt3/b"
assert_equal "$(cat "$T/source/b") $(stat -c %u "$T/source/b")" "new 0" "written through the mirror"

say "the kernel does the I/O of a unit's server"
mkdir "$T/memory" "$T/mnt6"
mount -t tmpfs none "$T/memory"
head -c 400000 /dev/urandom >"$T/memory/large"
fifth=$(fusectl mount mirror "$T/memory" "$T/mnt6" -o passthrough)
exec {large}<"$T/mnt6/large"
assert_equal "$(field "$fifth" backing-files)" 1 "backing files"
cmp "$T/memory/large" "/dev/fd/$large"
exec {large}<&-
fusectl umount "$fifth"
umount "$T/memory"

say "a block device, which fused opens"
loop=$(losetup -f --show "$T/loop.img" 2>/dev/null || { make_ext4 "$T/loop.img"; losetup -f --show "$T/loop.img"; })
trap 'losetup -d "$loop" 2>/dev/null || true' EXIT # the host has it
mkdir "$T/mnt4" "$T/mnt5"
fourth=$(fusectl mount ext4 "$loop" "$T/mnt4")
echo device >"$T/mnt4/file"
if fusectl mount ext4 "$loop" "$T/mnt5" 2>"$T/err"; then fail "the device was given twice"; fi
grep -q 'device-busy' "$T/err"
fusectl umount "$fourth"
losetup -d "$loop"
e2fsck -fn "$T/loop.img"
fusectl umount "$third"
fusectl umount "$second"
e2fsck -fn "$T/ext4"

say "the end of the mount is the end of the unit"
fusectl umount "$id"
wait_for "the end of the units" 5 no_units_of squashfs
wait_for "the end of the units" 5 no_units_of ext4
wait_for "the end of the units" 5 no_units_of mirror
assert_equal "$(systemctl --failed --plain --no-legend | wc -l)" 0 "failed units: $(systemctl --failed --plain --no-legend)"

say "a server that is killed: the mount goes, and the reason is told"
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
kill -KILL "$(field "$id" server-pid)"
not_mounted() { ! mountpoint -q "$T/mnt"; }
wait_for "the end of the mount" 5 not_mounted
journalctl -b -u fused.service --no-pager | grep -E "mount $id: ended: .*(signal 9|killed)" || fail "nobody says how it ended: $(journalctl -b -u fused.service -n 5)"
