#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ext4 on a block device that the broker opens: read-write, exclusive while mounted, given back afterwards.
. "$TOP/tests/lib/lib.sh"
fill_tree "$T/tree" 60
make_ext4_image "$T/image" 64M "$T/tree"
attach_loop "$T/image"
mkdir "$T/mnt" "$T/native"
start_fused
id=$(fusectl mount ext4 "$LOOP" "$T/mnt")
assert_equal "$(field "$id" device)" "$(lsblk -dno MAJ:MIN "$LOOP" | tr -d ' ')" device
assert_equal "$(field "$id" device-size)" $((64 << 20)) "device size"
assert_files_same "$T/tree/dir2" "$T/mnt/dir2"
cp -r "$T/tree/dir4" "$T/mnt/copy"

say "exclusive while mounted"
/usr/bin/python3 - "$LOOP" <<'P' || fail "the device could be opened exclusively by somebody else"
import errno, os, sys
try:
    os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)
except OSError as e:
    sys.exit(0 if e.errno == errno.EBUSY else f"errno {e.errno}")
sys.exit("it opened")
P
! mount -t ext4 "$LOOP" "$T/native" 2>/dev/null || { umount "$T/native"; fail "the kernel could mount it too"; }
expect_fusectl 3 mount ext4 "$LOOP" "$T/native"
out_has "device-busy"
out_has "$id"

fusectl umount "$id"
fsck_clean "$LOOP"
native_mount -o ro "$LOOP" "$T/native"
assert_files_same "$T/tree/dir4" "$T/native/copy"
say "refused while the kernel has it mounted, naming the holder"
expect_fusectl 3 mount ext4 "$LOOP" "$T/mnt"
out_has "device-busy"
out_has "$T/native"
umount "$T/native"
