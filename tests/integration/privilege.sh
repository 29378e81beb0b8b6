#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Bounding sets and seccomp programs of broker and manager, read from the running processes, are those of the arrays.
. "$TOP/tests/lib/lib.sh"
start_fused
manager=$(manager_pid)
"$BUILD/tests/integration/filter-compare" "$FUSED_PID" "$manager"
say "the manager: not root, an empty root directory, namespaces"
uid=$(stat -c %u "/proc/$manager")
[ "$uid" -ne 0 ] || fail "it runs as root"
assert_equal "$(awk '/^Groups:/ {print NF}' "/proc/$manager/status")" 1 "number of groups"
for name in mnt net ipc uts; do
        [ "$(readlink "/proc/$manager/ns/$name")" != "$(readlink "/proc/self/ns/$name")" ] || fail "it is in the host's $name namespace"
done
entries=$(find "/proc/$manager/root/" -maxdepth 1 -mindepth 1 -printf '%f ')
echo "its root: $entries"
for name in etc home proc sys run var root tmp boot; do
        [ ! -d "/proc/$manager/root/$name" ] || [ -z "$(ls -A "/proc/$manager/root/$name")" ] || fail "it can see /$name"
done
say "files that a client passes go through it and do not stay"
make_ext4_image "$T/image" 8M; mkdir "$T/mnt"
fusectl mount ext4 "$T/image" "$T/mnt" >/dev/null
! readlink /proc/"$manager"/fd/* | grep -F "$T/image" || fail "the manager holds the image"
! readlink /proc/"$FUSED_PID"/fd/* | grep -F "$T/mnt" || fail "the broker holds the served tree"
! readlink /proc/"$manager"/fd/* | grep -F "/dev/fuse" || fail "the manager holds the FUSE device"
fusectl umount "$T/mnt"
