#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A device that shrinks, or cannot take what is written: that operation fails, the mount and its neighbour go on.
. "$TOP/tests/lib/lib.sh"
use_program one-file
use_type one-file LISTED= one-file
mkdir "$T/mnt" "$T/neighbour" "$T/small"
native_mount -t tmpfs -o size=24M none "$T/small"
head -c 16777216 /dev/urandom >"$T/small/image"
head -c 1048576 /dev/urandom >"$T/other"
start_fused
fusectl mount one-file "$T/other" "$T/neighbour" >/dev/null
neighbour() { cmp "$T/neighbour/data" "$T/other" || fail "$1: the neighbour has suffered"; }
read_at() { dd if="$T/mnt/data" of=/dev/null bs=64K skip="$1" count=1 iflag=direct 2>&1; }
write_at() { dd if=/dev/zero of="$T/mnt/data" bs=64K seek="$1" count=1 oflag=direct conv=notrunc 2>&1; }

say "an image file that is cut"
fusectl mount one-file "$T/small/image" "$T/mnt" -o chunk=65536 >/dev/null
read_at 200 >/dev/null || fail "it could not be read before"
truncate -s 8M "$T/small/image"
message=$(read_at 200) && fail "what is not there was read"
grep -q "Input/output error" <<<"$message" || fail "not EIO: $message"
read_at 10 >/dev/null || fail "what is there cannot be read"
truncate -s 16M "$T/small/image"
read_at 200 >/dev/null || fail "it cannot be read again"
neighbour "an image that is cut"
fusectl umount "$T/mnt"

say "a loop device whose file is cut"
attach_loop "$T/small/image"
fusectl mount one-file "$LOOP" "$T/mnt" -o chunk=65536 >/dev/null
truncate -s 8M "$T/small/image"
message=$(read_at 200) && fail "what is not there was read"
grep -q "Input/output error" <<<"$message" || fail "not EIO: $message"
read_at 10 >/dev/null || fail "what is there cannot be read"
neighbour "a loop device that is cut"
fusectl umount "$T/mnt"
detach_loop "$LOOP"

say "a device that has no room for what is written"
rm "$T/small/image"
truncate -s 64M "$T/small/image" # sparse: there is room for 24M
attach_loop "$T/small/image"
fusectl mount one-file "$LOOP" "$T/mnt" >/dev/null
failed=0
for i in $(seq 0 16 1000); do
        message=$(dd if="$T/other" of="$T/mnt/data" bs=1M seek=$((i / 16)) count=1 oflag=direct conv=notrunc 2>&1) || {
                failed=1
                break
        }
done
[ $failed = 1 ] || fail "64M fit into 24M"
grep -qE "Input/output error|No space left" <<<"$message" || fail "not EIO: $message"
cmp -n 1048576 "$T/mnt/data" "$T/other" || fail "what was written before is lost"
# what the kernel keeps back fails when it is wanted on the device
message=$(dd if=/dev/urandom of="$T/mnt/data" bs=1M seek=40 count=8 conv=notrunc,fsync 2>&1) && fail "fsync says that it is there"
grep -qE "Input/output error|No space left" <<<"$message" || fail "not EIO: $message"
neighbour "a device without room"
fusectl umount "$T/mnt" || fusectl abort "$T/mnt"
detach_loop "$LOOP"

say "the same through the device's page cache, and the other file asks first"
rm -f "$T/small/image"
truncate -s 200M "$T/small/image"
mkfs.ext4 -q -F -b 1024 "$T/small/image"
attach_loop "$T/small/image"
fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
python3 - "$T/mnt" <<'PY' || fail "one of the files was not told"
import os, sys
def sync(fd):
    try:
        os.fsync(fd)
        return True
    except OSError:
        return False
small, large = [os.open(sys.argv[1] + name, os.O_RDWR | os.O_CREAT) for name in ("/small", "/large")]
direct = os.open(sys.argv[1] + "/large", os.O_RDWR | os.O_DIRECT)
for i in range(40): # MiB, on a device with room for 24
    assert os.pwrite(direct, b"B" * (1 << 20), i << 20) == 1 << 20
os.pwrite(small, b"A", 0)
sys.exit([sync(small), sync(large)] != [False, False])
PY
fusectl umount "$T/mnt" || fusectl abort "$T/mnt"
detach_loop "$LOOP"
fusectl umount "$T/neighbour"
