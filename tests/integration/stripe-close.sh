#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Striped volumes: what close(2) and fsync(2) promise; files that are removed while they are open, or just were.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt"
loops=()
for i in 0 1; do truncate -s 16M "$T/m$i"; attach_loop "$T/m$i"; loops+=("$LOOP"); done
"$STAGE/bin/fused-stripe" create --chunk 16K "${loops[@]}"
mount_it() { fusectl mount stripe "${loops[0]}" "$T/mnt" -o "slot.device1=${loops[1]}" >/dev/null; }
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
crash() {
        kill -KILL "$(fusectl --json status "$T/mnt" | json "d['server-pid']")"
        wait_for "the end of the mount" 10 gone
        mount_it
}
start_fused
mount_it

say "what was closed is there after a crash; so is the name of what is open, after fsync(2) of the directory"
head -c 3000001 /dev/urandom >"$T/data"
cp "$T/data" "$T/mnt/closed"
crash
cmp "$T/data" "$T/mnt/closed" || fail "a file that was closed is gone"
exec 7>"$T/mnt/open"
sync "$T/mnt"
crash
exec 7>&-
[ -e "$T/mnt/open" ] || fail "a name is gone"
chmod 600 "$T/mnt/closed"
echo more >>"$T/mnt/closed"
crash
assert_equal "$(stat -c '%a %s' "$T/mnt/closed")" "600 3000006" "what was changed"

say "a table that cannot be stored is told by close(2), fsync(2), and of the directory"
python3 - "$T/mnt" "${loops[0]}" <<'PY' || fail "it was not told"
import errno, fcntl, os, struct, sys
path, loop = sys.argv[1:]
os.chdir(path)
device = os.open(loop, os.O_RDONLY)
read_only = lambda on: fcntl.ioctl(device, 0x125d, struct.pack("i", on))  # BLKROSET; a process of its own would close our files as well
fd, directory = os.open("new", os.O_CREAT | os.O_WRONLY), os.open(".", os.O_RDONLY)
read = os.open("closed", os.O_RDONLY)

def fails(what):
    try:
        what()
    except OSError as error:
        return error.errno in (errno.EIO, errno.EPERM, errno.EROFS)
    return False

read_only(1)
os.close(read)  # of which nothing has changed
told = [fails(lambda: os.fsync(fd)), fails(lambda: os.fsync(directory)), fails(lambda: os.close(fd))]
read_only(0)
assert told == [True] * 3, told
os.fsync(directory)
PY
crash
[ -e "$T/mnt/new" ] || fail "what was stored at last is gone"

say "a file that was just closed is removed"
python3 - "$T/mnt" <<'PY' || fail "it was busy"
import os, sys
os.chdir(sys.argv[1])
for i in range(200):
    with open("short-lived", "wb") as f:
        f.write(b"x" * 5000)
    os.unlink("short-lived")
PY

say "what is open stays, without its name, until it is closed"
rm -f "$T"/mnt/*
python3 - "$T/mnt" <<'PY' || fail "files that are removed while they are open"
import errno, os, sys, time
os.chdir(sys.argv[1])
free = lambda: os.statvfs(".").f_bavail
fd = os.open("file", os.O_CREAT | os.O_RDWR)
os.write(fd, b"A" * 3000000)
os.fsync(fd)
before = free()
os.unlink("file")
assert not os.path.exists("file") and os.listdir(".") == [] and os.fstat(fd).st_nlink == 0
again = os.open("file", os.O_CREAT | os.O_RDWR)
os.write(again, b"B" * 1000000)
os.fsync(again)
os.pwrite(fd, b"C" * 1000, 2999500)
assert os.pread(fd, 4000000, 0) == b"A" * 2999500 + b"C" * 1000
other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT)
os.ftruncate(other, 1 << 20)
assert os.pread(again, 2000000, 0) == b"B" * 1000000 and os.fstat(fd).st_size == 1 << 20
os.close(fd)
assert os.stat(f"/proc/self/fd/{other}").st_nlink == 0 and os.path.getsize("file") == 1000000
os.close(other)
os.close(again)
os.unlink("file")
for _ in range(100):  # the last close is heard of a moment later
    if free() == os.statvfs(".").f_blocks:
        break
    time.sleep(0.05)
else:
    sys.exit("rows are still taken")
PY
exec 7>"$T/mnt/open"
head -c 3M /dev/zero >&7
rm "$T/mnt/open"
sync "$T/mnt"
"$STAGE/bin/fused-stripe" list --json "$T/m0" "$T/m1" | json "d['files']" | grep -qx '\[\]' || fail "it is listed"
crash
exec 7>&-
assert_equal "$(ls "$T/mnt")" "" "files after a crash"
assert_equal "$(stat -f -c %a "$T/mnt")" "$(stat -f -c %b "$T/mnt")" "free rows after a crash"

say "what nobody has closed since it was changed is stored at the end of the mount"
echo data >"$T/mnt/file"
chmod 640 "$T/mnt/file"
touch -d 2001-02-03T04:05:06Z "$T/mnt/file"
fusectl umount "$T/mnt"
mount_it
assert_equal "$(stat -c '%a %Y' "$T/mnt/file")" "640 981173106" "attributes after a remount"
fusectl umount "$T/mnt"
for l in "${loops[@]}"; do detach_loop "$l"; done
