#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A secret that only root can read reaches the server that its type names it for, and no other; a slice of the administrator's choice.
. "$TOP/tests/rigs/lib.sh"
mkdir -p /etc/fused/types /etc/fused-test
echo "sesame" >/etc/fused-test/key
chmod 600 /etc/fused-test/key
{ cat "$STAGE/lib/fused/types/squashfs.conf"; printf '[Sandbox]\nCredentials=key:/etc/fused-test/key\nSlice=fused-special.slice\n'; } >/etc/fused/types/secret.conf
systemctl daemon-reload
systemctl start fused.socket fuse-service-secret.socket
systemctl restart fused.service
make_squashfs "$T/image"
mkdir "$T/mnt" "$T/mnt2"
id=$(fusectl mount secret "$T/image" "$T/mnt")
other=$(fusectl mount squashfs "$T/image" "$T/mnt2")
pid=$(field "$id" server-pid)
directory=$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^CREDENTIALS_DIRECTORY=//p')
[ -n "$directory" ] || fail "no directory: $(tr '\0' ' ' <"/proc/$pid/environ")"
assert_equal "$(cat "/proc/$pid/root$directory/key")" sesame
assert_equal "$(stat -c %u "/proc/$pid/root$directory/key")" "$(field "$id" server-uid)" "who can read it"
grep -q fused-special.slice "/proc/$pid/cgroup"
neighbour=$(field "$other" server-pid)
! tr '\0' '\n' <"/proc/$neighbour/environ" | grep -q CREDENTIALS || fail "the neighbour has it as well"
fusectl umount "$id"
fusectl umount "$other"
rm -r /etc/fused/types/secret.conf /etc/fused-test
systemctl daemon-reload
