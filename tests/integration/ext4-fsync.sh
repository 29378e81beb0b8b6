#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 60
# ext4-map: what fsync(2) promises: data and what leads to it are on the device when it returns, and the device is told to put it on its media. Without
# fsync none of that happens at once.
. "$TOP/tests/lib/lib.sh"
start_fused
mkdir "$T/map" "$T/copied"
truncate -s 64M "$T/image"
mke2fs -q -F -t ext4 -E root_owner=0:0 "$T/image"
attach_loop "$T/image"
MAP_LOOP=$LOOP
flushes() { awk '{print $16}' "/sys/block/${MAP_LOOP#/dev/}/stat"; }
[ -n "$(flushes)" ] || skip "this kernel does not count flushes"

before=$(flushes)
fusectl mount ext4-map "$MAP_LOOP" "$T/map" >/dev/null
[ "$(flushes)" -gt "$before" ] || fail "the mark that it is mounted was not flushed"

say "each fsync reaches the media"
python3 - "$T/map/file" "/sys/block/${MAP_LOOP#/dev/}/stat" <<'PY'
import os, sys
def flushes():
    with open(sys.argv[2]) as f: return int(f.read().split()[15])
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
for how, sync in ("new", os.fsync), ("appended", os.fdatasync), ("overwritten", os.fsync), ("overwritten", os.fdatasync), ("nothing", os.fsync):
    if how != "nothing": os.pwrite(fd, b"x" * 4096, 4096 if how == "appended" else 0)
    before = flushes(); sync(fd)
    assert flushes() > before, (how, sync)
directory = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
before = flushes(); os.fsync(directory)
assert flushes() > before, "directory"
before = flushes(); os.pwrite(fd, b"y", 0); os.pread(fd, 1, 0)
assert flushes() == before, "a write"
PY

say "the names and places of what was synchronized are on the device"
rm "$T/map/file"
python3 - "$T/map" "$MAP_LOOP" "$T/copy" <<'PY'
import os, sys
os.mkdir(sys.argv[1] + "/dir")
fd = os.open(sys.argv[1] + "/dir/file", os.O_CREAT | os.O_WRONLY)
for i in range(100): os.pwrite(fd, b"%07d\n" % i * 512, i * 8192)
os.fsync(fd)
with open(sys.argv[2], "rb") as device, open(sys.argv[3], "wb") as copy: # before anything else is written out by itself
    while block := device.read(1 << 20): copy.write(block)
PY
e2fsck -fp "$T/copy" >"$T/said" 2>&1 || [ $? -eq 1 ] || fail "the copy is damaged: $(cat "$T/said")"
grep -q "multiply-claimed\|differences" "$T/said" && fail "bitmaps are older than files: $(cat "$T/said")"
mount -o loop "$T/copy" "$T/copied"
cmp "$T/map/dir/file" "$T/copied/dir/file" || fail "what was synchronized is not there"
umount "$T/copied"
fusectl umount "$T/map"
fsck_clean "$T/image"
