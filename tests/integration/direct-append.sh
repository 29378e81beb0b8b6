#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 60
# Direct reads at the end of a file that grows through the kernel's cache, and searches for data in it: what the server has the kernel write back first
# must never be what waits for the server.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 512M
mkdir "$T/mnt"
start_fused
attach_loop "$T/image"
fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
# An append leaves a hole that is nowhere cached. A direct read that has met the end before it goes on through the cache, with the hole's pages locked.
python3 - "$T/mnt/file" >"$T/told" <<'PY' &
import mmap, os, sys, time
path, end = sys.argv[1], time.time() + 8
os.close(os.open(path, os.O_RDWR | os.O_CREAT))
def child(work):
    pid = os.fork()
    if pid == 0:
        n = 0
        while time.time() < end:
            n += work()
        os._exit(0 if n > 50 else 1)
    return pid
fd, direct = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY | os.O_DIRECT)
memory = mmap.mmap(-1, 512 << 10)
def append():
    size = os.fstat(fd).st_size
    if size > 200 << 20:
        os.ftruncate(fd, 0)
        size = 0
    return os.pwrite(fd, b"x", size // 4096 * 4096 + 90000) == 1
def read_end():
    return os.preadv(direct, [memory], max(os.fstat(fd).st_size - 100000, 0) // 4096 * 4096) >= 0
def search():
    try:
        return os.lseek(fd, max(os.fstat(fd).st_size - 300000, 0), os.SEEK_DATA) >= 0
    except OSError:
        return False
pids = [child(work) for work in (append, append, read_end, read_end, search)]
print(all(os.waitpid(pid, 0)[1] == 0 for pid in pids))
PY
busy=$!
for ((i = 0; i < 200; i++)); do [ -d "/proc/$busy" ] || break; sleep 0.1; done
[ ! -d "/proc/$busy" ] || fail "they wait for each other" # the end of fused ends that
wait "$busy"
[ "$(cat "$T/told")" = True ] || fail "somebody got little done"
fusectl umount "$T/mnt"
e2fsck -fn "$T/image" >/dev/null 2>&1 || fail "e2fsck"
