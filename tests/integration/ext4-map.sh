#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 300
# ext4-map: what is written through it is what the kernel's own ext4 reads, and the other way round; e2fsck finds nothing.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt" "$T/native" "$T/tree"
fill_tree "$T/tree" 200
start_fused

check() { e2fsck -fn "$1" >"$T/fsck" 2>&1 || fail "e2fsck: $(cat "$T/fsck")"; }

# The same mapping operations on a file of the mount and on a twin elsewhere; then both are the same.
python_files() { # DIRECTORY TWIN-DIRECTORY SEED COUNT EXTENTS
        python3 - "$@" <<'PY'
import ctypes, hashlib, mmap, os, random, sys
base, twin, seed, count, extents = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1"
random.seed(seed)
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
LIMIT = 4 << 20
paths = [os.path.join(base, "fsx"), os.path.join(twin, "fsx")]
fds = [os.open(p, os.O_RDWR | os.O_CREAT, 0o644) for p in paths]
direct = os.open(paths[0], os.O_RDWR | os.O_DIRECT)
aligned = mmap.mmap(-1, 1 << 20)

def fallocate(mode, offset, length):
    results = []
    for fd in fds:
        results.append(libc.fallocate(fd, mode, offset, length))
    assert results == [0, 0], (mode, offset, length, results, ctypes.get_errno())

for i in range(count):
    what = random.randrange(100)
    offset, length = random.randrange(LIMIT), random.randrange(1, 150000)
    length = min(length, LIMIT - offset) or 1
    if what < 35:
        data = random.randbytes(length)
        for fd in fds: assert os.pwrite(fd, data, offset) == length
    elif what < 45:  # past the cache, whole blocks
        offset, length = offset // 4096 * 4096, max(4096, length // 4096 * 4096)
        data = random.randbytes(length)
        aligned[:length] = data
        assert os.pwritev(direct, [memoryview(aligned)[:length]], offset) == length
        os.pwrite(fds[1], data, offset)
    elif what < 60:
        os.fsync(fds[0]) if what < 48 else None
        a, b = os.pread(fds[0], length, offset), os.pread(fds[1], length, offset)
        assert a == b, f"step {i}: read at {offset}, {length}"
    elif what < 68:
        for fd in fds: os.ftruncate(fd, offset)
    elif what < 76: fallocate(3, offset, length)
    elif what < 80 and extents: fallocate(0, offset, length)
    elif what < 84 and extents: fallocate(1, offset, length)
    elif what < 88 and extents: fallocate(16 | random.randrange(2), offset, length)
    elif what < 94:
        size = os.fstat(fds[1]).st_size
        if size > 5000:
            n = min(60000, size)
            data = random.randbytes(random.randrange(1, n))
            at = random.randrange(size - len(data) + 1)
            for fd in fds:
                m = mmap.mmap(fd, size)
                m[at:at + len(data)] = data
                m.flush() if what == 90 else None
                m.close()
    elif what < 96: os.fsync(fds[0])
    else:  # past the cache
        size = os.fstat(fds[1]).st_size
        at = offset // 4096 * 4096
        if at < size:
            os.fsync(fds[0])  # a size that only the page cache knows is not known past it
            n = os.preadv(direct, [memoryview(aligned)[:65536]], at)
            b = os.pread(fds[1], 65536, at)
            assert n == len(b), f"step {i}: direct read at {at} of {size} gave {n}"
            assert aligned[:n] == b, f"step {i}: direct read at {at} of {size}: byte {next(k for k in range(n) if aligned[k] != b[k])} differs"
    assert os.fstat(fds[0]).st_size == os.fstat(fds[1]).st_size, f"step {i}: size"
size = os.fstat(fds[0]).st_size
a, b = os.pread(fds[0], size, 0), os.pread(fds[1], size, 0)
assert a == b, "contents differ at the end"
# holes: whatever is called one reads as zeroes
at = 0
while at < size:
    try: hole = os.lseek(fds[0], at, os.SEEK_HOLE)
    except OSError: break
    try: data = os.lseek(fds[0], hole, os.SEEK_DATA)
    except OSError: data = size
    assert not any(b[hole:data]), "data where a hole is said to be"
    at = data if data > at else size
PY
}

names() { # DIRECTORY: names, links, attributes
        (cd "$1" && set -e
        mkdir dir dir/sub; echo a >dir/a; ln dir/a dir/b; ln -s short dir/fast; ln -s "$(printf 'x%.0s' {1..200})" dir/slow
        mknod dir/null c 1 3; mknod dir/far b 300 70000; mkfifo dir/fifo
        mv dir/sub moved; mkdir moved/inner; mv moved/inner dir/back; echo b >dir/over; mv dir/a dir/over; rm dir/b
        chmod 4751 dir/over; chown 12345:70000 dir/over; touch -d '2100-02-03 04:05:06.789' dir/over; touch -d '1950-01-02 03:04:05.6' moved
        python3 - <<'PY'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.setxattr("dir/over", "user.one", b"1" * 30); os.setxattr("dir/over", "trusted.two", b"2" * 400); os.setxattr("dir", "security.three", b"\0\1\2")
os.setxattr("dir/over", "user.gone", b"x"); os.removexattr("dir/over", "user.gone")
open("x", "w").write("x"); os.mkdir("y"); open("y/in", "w").write("in")
assert libc.renameat2(-100, b"x", -100, b"y", 2) == 0 and os.path.isdir("x") and os.path.isfile("y")
assert libc.renameat2(-100, b"x", -100, b"y", 1) == -1 and ctypes.get_errno() == 17
assert libc.renameat2(-100, b"x", -100, b"dir/x", 1) == 0
# a file without a name is there until it is closed
f = open("unnamed", "w+b"); os.unlink("unnamed"); f.write(b"z" * 300000); f.flush(); os.fsync(f.fileno()); f.seek(0); assert f.read() == b"z" * 300000
PY
        mkdir many; for i in $(seq 700); do : >many/a-rather-long-name-so-that-blocks-fill-$i; done; for i in $(seq 1 2 700); do rm many/a-rather-long-name-so-that-blocks-fill-$i; done)
}

facts() { # DIRECTORY: what can be seen of each name
        (cd "$1" && find . -name lost+found -prune -o -printf '%p %y %m %n %U %G %l %T@ %Y\n' | grep -v '^\. ' | sed 's/\(T@\) .*//' | sort
        getfattr -Rhdm - . 2>/dev/null || python3 -c 'import os
for p, d, f in os.walk("."):
    d.sort()
    for n in sorted(d + f):
        q = os.path.join(p, n)
        print(q, [(a, os.getxattr(q, a, follow_symlinks=False)) for a in sorted(os.listxattr(q, follow_symlinks=False))])' | sort)
}

round() { # NAME MKFS-OPTIONS...: on a device
        local name=$1 extents=1; shift
        say "$name"
        case $name in ext2* | ext3) extents=0 ;; esac
        truncate -s 160M "$T/$name.img"
        mkfs.ext4 -q -F -E root_owner=0:0 "$@" "$T/$name.img"
        attach_loop "$T/$name.img"
        mount -t ext4 "$LOOP" "$T/native"; cp -a "$T/tree" "$T/native/from-native"; umount "$T/native"
        fusectl mount ext4-map "$LOOP" "$T/mnt" -o dev,suid >/dev/null
        diff -r --no-dereference "$T/tree" "$T/mnt/from-native" || fail "the tree does not read as it was written"
        cp -a "$T/tree" "$T/mnt/from-map"
        rm -r "$T/mnt/from-native/dir0"
        names "$T/mnt"
        mkdir -p "$T/twin"; rm -f "$T/twin/fsx"
        python_files "$T/mnt" "$T/twin" 1 400 $extents || fail "files differ"
        facts "$T/mnt" >"$T/facts-map"
        fusectl umount "$T/mnt"
        check "$LOOP"
        mount -t ext4 "$LOOP" "$T/native"
        facts "$T/native" >"$T/facts-native"
        diff "$T/facts-map" "$T/facts-native" || fail "the kernel sees other attributes"
        diff -r --no-dereference "$T/tree" "$T/native/from-map" || fail "the kernel reads something else"
        cmp "$T/twin/fsx" "$T/native/fsx" || fail "the kernel reads another file"
        umount "$T/native"
        fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
        cmp "$T/twin/fsx" "$T/mnt/fsx" || fail "it is another file after mounting again"
        rm -rf "$T/mnt"/[!l]*
        fusectl umount "$T/mnt"
        check "$LOOP"
        detach_loop "$LOOP"
}
round ext4 -b 4096
round ext4-1k -b 1024 -O ^metadata_csum,^64bit
round ext4-nojournal -O ^has_journal -b 2048
round ext3 -O ^extents,^64bit,^flex_bg,^metadata_csum
round ext2 -b 1024 -O ^extents,^64bit,^flex_bg,^metadata_csum,^has_journal,^dir_index
round ext2-noattr -b 1024 -O none,filetype,sparse_super,large_file -I 256
