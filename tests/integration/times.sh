#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is written changes a file's times, at once and for everybody who looks: through the cache and past it, whoever keeps them.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt"
make_ext4_image "$T/image" 128M
for i in 0 1; do truncate -s 64M "$T/m$i"; done
"$STAGE/bin/fused-stripe" create "$T/m0" "$T/m1" >/dev/null
start_fused

write_all() { # DIRECTORY: leaves times of modification in $T/times
        python3 - "$1" >"$T/times" <<'PY'
import ctypes, fcntl, mmap, os, sys, time
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
data = mmap.mmap(-1, 1 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(data))
SIZE, OLD = 4 << 20, 10**18

def call(number, *words):
    r = libc.syscall(number, *(ctypes.c_long(w) if isinstance(w, int) else w for w in words))
    assert r >= 0, os.strerror(ctypes.get_errno())
    return r

def write(flags, size=4096, pos=8192):
    def do(name):
        fd = os.open(name, os.O_RDWR | flags)
        assert os.pwritev(fd, [memoryview(data)[:size]], pos) == size
        return fd
    return do

def append(name):
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_DIRECT)
    assert os.writev(fd, [memoryview(data)[:4096]]) == 4096
    return fd

def late_direct(name):
    fd = os.open(name, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)
    assert os.pwritev(fd, [memoryview(data)[:4096]], 0) == 4096
    return fd

def beside_cached(name):
    cached = os.open(name, os.O_RDWR)
    assert len(os.pread(cached, 100, 8192)) == 100
    fd = write(os.O_DIRECT)(name)
    assert os.pread(cached, 4096, 8192) == data[:4096]
    os.close(cached)
    return fd

def asynchronous(name):  # struct iocb: io_setup, io_submit and io_getevents by number
    fd = os.open(name, os.O_RDWR | os.O_DIRECT)
    context = ctypes.c_ulong(0)
    call(206, 16, ctypes.byref(context))
    blocks = [(ctypes.c_uint64 * 8)() for _ in range(8)]
    for i, block in enumerate(blocks):
        block[2] = 1 | fd << 32  # IOCB_CMD_PWRITE
        block[3], block[4], block[5] = address, 65536, i * 65536
    pointers = (ctypes.c_void_p * 8)(*(ctypes.addressof(b) for b in blocks))
    assert call(209, int(context.value), 8, pointers) == 8
    events = (ctypes.c_int64 * 32)()
    assert call(208, int(context.value), 8, 8, events, None) == 8
    assert [events[4 * i + 2] for i in range(8)] == [65536] * 8
    call(207, int(context.value))
    return fd

kinds = {
    "cached": write(0), "cached-sync": write(os.O_SYNC), "cached-extending": write(0, 5000, SIZE - 100),
    "direct": write(os.O_DIRECT), "direct-large": write(os.O_DIRECT, 1 << 20), "direct-sync": write(os.O_DIRECT | os.O_SYNC),
    "direct-extending": write(os.O_DIRECT, 65536, SIZE), "direct-append": append, "direct-late": late_direct, "direct-beside-cached": beside_cached,
    "direct-asynchronous": asynchronous,
}
for name, do in kinds.items():
    data[:] = os.urandom(1 << 20)
    with open(name, "wb") as f:
        f.write(bytes(SIZE))
        os.fsync(f.fileno())
    os.utime(name, ns=(OLD, OLD))
    before = os.stat(name)
    assert before.st_mtime_ns == OLD, name
    time.sleep(0.02)  # more than one tick
    started = time.time()
    fd = do(name)
    for seen in (os.fstat(fd), os.stat(name)):
        assert abs(seen.st_mtime - started) < 10, (name, "mtime", seen.st_mtime)
        assert seen.st_ctime_ns > before.st_ctime_ns, (name, "ctime", seen.st_ctime_ns)
    os.close(fd)
    print(name, os.stat(name).st_mtime_ns)
PY
}
look_again() { (cd "$1" && python3 -c 'import os, sys
for line in sys.stdin: print(line.split()[0], os.stat(line.split()[0]).st_mtime_ns)' <"$T/times" >"$T/again"); diff "$T/times" "$T/again" || fail "$2: other times when mounted again"; }

for options in "" no_writeback; do
        say "options: ${options:-none}"
        for type in ext4-map stripe; do
                words=$options source="$T/image"
                [ $type = ext4-map ] || words="slot.device1=$T/m1${options:+,$options}" source="$T/m0"
                fusectl mount $type "$source" "$T/mnt" ${words:+-o $words} >/dev/null
                write_all "$T/mnt" || fail "$type"
                fusectl umount "$T/mnt"
                fusectl mount $type "$source" "$T/mnt" ${words:+-o $words} >/dev/null # nothing is left of what the kernel knew
                look_again "$T/mnt" "$type"
                rm "$T/mnt"/[cd]*
                fusectl umount "$T/mnt"
        done
done
e2fsck -fn "$T/image" >/dev/null 2>&1 || fail "e2fsck"
