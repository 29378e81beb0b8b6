#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Striped volumes: a file grows while there is room, whatever lies behind it; a place that is used again is another file; times before 1970.
. "$TOP/tests/lib/lib.sh"
stripe() { "$STAGE/bin/fused-stripe" "$@"; }
mkdir "$T/mnt" "$T/twin"
members=("$T/m0" "$T/m1")
truncate -s 8M "${members[@]}"
stripe create --chunk 16K "${members[@]}"
mount_it() { fusectl mount stripe "$T/m0" "$T/mnt" -o "slot.device1=$T/m1"; }
n_runs() { stripe list "${members[@]}" | sed -n "s/.* rows \(.*\)  $1\$/\1/p" | tr ',' '\n' | wc -l; }
same() { (cd "$T/twin" && sha256sum -- *) | (cd "$T/mnt" && sha256sum -c --quiet) || fail "$1: contents differ"; }

say "one behind the other: the first grows over the others, to the last row"
for f in a b c; do
        head -c 300000 /dev/urandom >"$T/twin/$f"
        stripe add $f "${members[@]}" <"$T/twin/$f"
        assert_equal "$(n_runs $f)" 1 "runs of $f"
done
start_fused
id=$(mount_it)
for f in a b a c a; do
        head -c 700000 /dev/urandom | tee -a "$T/twin/$f" >>"$T/mnt/$f"
done
same "grown"
free=$(stat -f -c '%a * %S' "$T/mnt")
head -c $((free)) /dev/urandom | tee -a "$T/twin/b" >>"$T/mnt/b" || fail "less fits than is free"
sync "$T/mnt/b"
same "full, but for what is left in last rows"
room=$(($(stat -c '%b * 512 - %s' "$T/mnt/b")))
head -c $room /dev/urandom | tee -a "$T/twin/b" >>"$T/mnt/b"
assert_equal "$(stat -f -c %a "$T/mnt")" 0 "free"
echo more 2>/dev/null >>"$T/mnt/b" && sync "$T/mnt/b" 2>/dev/null && fail "more than there is"
rm "$T/mnt/c" "$T/twin/c"
head -c 500000 /dev/urandom | tee -a "$T/twin/a" >>"$T/mnt/a"
truncate -s 1000001 "$T/twin/b" "$T/mnt/b"
head -c 1200000 /dev/urandom | tee -a "$T/twin/a" >>"$T/mnt/a"
fusectl umount "$T/mnt"
[ "$(n_runs a)" -gt 2 ] || fail "$(stripe list "${members[@]}")"
id=$(mount_it)
same "in pieces, after a mount"
for way in "" iflag=direct; do
        # shellcheck disable=SC2086
        cmp <(dd if="$T/mnt/a" bs=200K $way status=none) "$T/twin/a" || fail "reads $way differ"
done
[ "$(fusectl --json status "$id" | json "d['mapping']['answered-by-program']")" -gt 10 ] || fail "the program was not asked for the first run"
[ "$(fusectl --json status "$id" | json "d['mapping']['answered-by-server']")" -gt 10 ] || fail "the server was not asked for the others"
python3 - "$T" <<'PY' || fail "what is written in pieces differs"
import os, random, sys
random.seed(3)
a, b = (os.open(f"{sys.argv[1]}/{d}/a", os.O_RDWR) for d in ("mnt", "twin"))
size = os.fstat(b).st_size
for _ in range(200):
    at = random.randrange(size)
    data = random.randbytes(random.randrange(1, 70000))[:size - at]
    assert os.pwrite(a, data, at) == os.pwrite(b, data, at)
sys.exit(os.pread(a, size, 0) != os.pread(b, size, 0))
PY

say "files that grow in turn, kept open"
rm "$T"/mnt/* "$T"/twin/*
python3 - "$T" <<'PY'
import os, random, sys
random.seed(4)
pairs = [[os.open(f"{sys.argv[1]}/{d}/f{i}", os.O_WRONLY | os.O_CREAT) for d in ("mnt", "twin")] for i in range(8)]
for at in range(0, 1200000, 10000):
    for pair in pairs:
        data = random.randbytes(10000)
        for fd in pair:
            os.pwrite(fd, data, at)
    if at % 300000 == 0:
        for pair in pairs:
            os.fsync(pair[0])
PY
same "in turn"
fusectl umount "$T/mnt"
[ "$(stripe list "${members[@]}" | grep -o '[0-9]*+[0-9]*' | wc -l)" -lt 80 ] || fail "many runs: $(stripe list "${members[@]}")"

say "a number that is used again is not the same file"
mount_it >/dev/null
rm "$T"/mnt/*
python3 - "$T/mnt" <<'PY' || fail "a handle of a file that is gone"
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)

class Handle(ctypes.Structure):
    _fields_ = [("n", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]

def handle_of(path):
    handle, mount = Handle(n=128), ctypes.c_int()
    if libc.name_to_handle_at(-100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    return handle

def opened(handle):
    fd = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0

os.chdir(sys.argv[1])
root = os.open(".", os.O_RDONLY)
open("old", "w").write("old")
old, ino = handle_of("old"), os.stat("old").st_ino
assert opened(old) == 0
os.unlink("old")
open("new", "w").write("new")
assert os.stat("new").st_ino == ino, "the number was to be used again"
new = handle_of("new")
assert bytes(new.data[:new.n]) != bytes(old.data[:old.n]), "the same handle"
assert opened(new) == 0
assert opened(old) == errno.ESTALE, opened(old)
PY

say "times"
for time in 1902-12-13T20:45:51.75 1960-01-01T00:00:00.5 1969-12-31T23:59:59.999999999 1970-01-01T00:00:00 2024-02-29T12:00:00.25 2262-01-01T00:00:00; do
        touch -d "${time}Z" "$T/mnt/new" "$T/twin/time"
        fusectl umount "$T/mnt"
        mount_it >/dev/null
        assert_equal "$(stat -c %.9Y "$T/mnt/new")" "$(stat -c %.9Y "$T/twin/time")" "$time"
done
fusectl umount "$T/mnt"
