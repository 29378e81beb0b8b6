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
say "files in its root: its program, what that needs to be loaded, and nothing of use"
find "/proc/$manager/root/" ! -type d -printf '/%P %M %U\n' | sort >"$T/files"
cat "$T/files"
if grep -vE '^/(usr/)?lib(64)?/|^/lib(64)? |/fused-manager |^/etc/ld.so.cache |^/dev/(null|zero|full|random|urandom) |/lib[a-z0-9_.-]*\.so[.0-9]* ' "$T/files"; then fail "there is more than it needs"; fi
! touch "/proc/$manager/root/x" 2>/dev/null || fail "it is writable"
say "files that a client passes go through it and do not stay"
make_ext4_image "$T/image" 8M; mkdir "$T/mnt"
fusectl mount ext4 "$T/image" "$T/mnt" >/dev/null
! readlink /proc/"$manager"/fd/* | grep -F "$T/image" || fail "the manager holds the image"
served=$(awk -v p="$T/mnt" '$5 == p {print $1}' /proc/self/mountinfo)
[ -n "$served" ] || fail "the mount is not in mountinfo"
for process in "$FUSED_PID" "$manager"; do
        ! grep -l "^mnt_id:[[:space:]]*$served\$" /proc/"$process"/fdinfo/* || fail "process $process holds the served tree"
done
! readlink /proc/"$manager"/fd/* | grep -F "/dev/fuse" || fail "the manager holds the FUSE device"
fusectl umount "$T/mnt"
