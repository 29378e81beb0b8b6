#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a device must be: writable unless the mount is not, with a medium, not locked, not in use, not the same under another name.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
mkdir "$T/mnt" "$T/mnt2"
start_fused
say "read-only device"
attach_loop "$T/image" --read-only
expect_fusectl 3 mount ext4 "$LOOP" "$T/mnt"
out_has '\[device-read-only\]'
fusectl mount ext4 "$LOOP" "$T/mnt" -o ro >/dev/null
fusectl umount "$T/mnt"
detach_loop "$LOOP"

say "no medium"
empty=$(losetup -f)
if ! losetup "$empty" >/dev/null 2>&1; then
        expect_fusectl 3 mount ext4 "$empty" "$T/mnt"
        out_has '\[device-empty\]'
fi

say "held by somebody's flock, and by somebody's O_EXCL"
attach_loop "$T/image"
exec 8<"$LOOP"; flock -x 8
expect_fusectl 3 mount ext4 "$LOOP" "$T/mnt"
out_has '\[device-busy\]'
flock -u 8
fusectl mount ext4 "$LOOP" "$T/mnt" >/dev/null
fusectl umount "$T/mnt"
exec 8<&-
/usr/bin/python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)
print("held", flush=True)
time.sleep(60)' "$LOOP" >"$T/holder" &
holder=$!
at_end "kill $holder 2>/dev/null"
holds() { grep -q held "$T/holder"; }
wait_for "the holder" 5 holds
expect_fusectl 3 mount ext4 "$LOOP" "$T/mnt"
out_has '\[device-busy\]'
kill $holder; wait $holder 2>/dev/null || true

say "the same device by another node"
mknod "$T/node" b $((16#$(stat -c %t "$LOOP"))) $((16#$(stat -c %T "$LOOP")))
id=$(fusectl mount ext4 "$LOOP" "$T/mnt")
expect_fusectl 3 mount ext4 "$T/node" "$T/mnt2"
out_has '\[device-busy\]'; out_has "$id"
fusectl umount "$id"
fusectl mount ext4 "$T/node" "$T/mnt" >/dev/null
fusectl umount "$T/mnt"

say "a device whose image has no file system: the server says why"
truncate -s 4M "$T/zero"
attach_loop "$T/zero"
expect_fusectl 1 mount ext4 "$LOOP" "$T/mnt"
out_has 'magic|superblock'
say "and it is free again"
/usr/bin/python3 -c 'import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR | os.O_EXCL))' "$LOOP"
