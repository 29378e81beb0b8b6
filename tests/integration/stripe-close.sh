#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Striped volumes: what close(2) and fsync(2) promise.
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
fusectl umount "$T/mnt"
for l in "${loops[@]}"; do detach_loop "$l"; done
