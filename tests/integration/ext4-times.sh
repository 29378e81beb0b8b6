#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# ext4-map: which times an operation changes, as on the kernel's ext4; and that what was written later is not older. The kernel, which keeps the times
# of what it caches, does not change them for FUSE when a file is written to with O_DIRECT or cut to the size that it has.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/ext4-twins.sh"
start_fused
make_twins 64M
mount_twins

changed() { # DIRECTORY
        python3 - "$1" <<'PY'
import ctypes, mmap, os, shutil, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
top = sys.argv[1] + "/times"
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in
    [(1, 7, 0xffffffff), (2, 7, 1000), (4, 7, 0xffffffff), (16, 7, 0xffffffff), (32, 7, 0xffffffff)])
def snap(names):
    out = {}
    for n in names:
        try: s = os.lstat(n); out[n] = (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        except OSError: out[n] = None
    return out
def t(what, f, *names):
    names = names or ("d", "d/f", "e", "e/g")
    os.mkdir(top); os.chdir(top)
    os.mkdir("d"); os.mkdir("e"); os.symlink("f", "d/l")
    for n in "d/f", "e/g":
        with open(n, "w") as o: o.write("hello\n")
    os.setxattr("d/f", "user.old", b"x"); os.link("e/g", "d/two")
    time.sleep(.02); before = snap(names); time.sleep(.02)
    try: f()
    except OSError as e: print(what, e)
    time.sleep(.02)
    after = snap(names)
    print(what, {n: "".join(c for c, p, q in zip("amc", before[n] or (0, 0, 0), after[n]) if p != q) if after[n] else None for n in names})
    os.chdir("/"); shutil.rmtree(top)
def opened(name, flags, f=lambda fd: None):
    fd = os.open(name, flags)
    try: f(fd)
    finally: os.close(fd)
def by_mmap(fd):
    m = mmap.mmap(fd, 6); m[0] = 66; m.flush(); m.close()
def allocate(mode, length): opened("d/f", os.O_RDWR, lambda fd: libc.fallocate(fd, mode, 0, length))
t("write", lambda: opened("d/f", os.O_RDWR, lambda fd: os.write(fd, b"x")))
t("write of nothing", lambda: opened("d/f", os.O_RDWR, lambda fd: os.write(fd, b"")))
t("mmap", lambda: opened("d/f", os.O_RDWR, by_mmap))
t("truncate", lambda: os.truncate("d/f", 2)); t("truncate, longer", lambda: os.truncate("d/f", 7000))
t("O_TRUNC", lambda: opened("d/f", os.O_RDWR | os.O_TRUNC))
t("chmod", lambda: os.chmod("d/f", 0o600)); t("chown", lambda: os.chown("d/f", 5, 5)); t("utime", lambda: os.utime("d/f", (1, 1))); t("touch", lambda: os.utime("d/f"))
t("link", lambda: os.link("d/f", "e/n")); t("unlink one of two", lambda: os.unlink("d/two"))
t("create", lambda: open("d/n", "w").close()); t("mkdir", lambda: os.mkdir("d/n")); t("symlink", lambda: os.symlink("x", "d/n"))
t("rename", lambda: os.rename("d/f", "d/h"), "d", "d/h"); t("rename across", lambda: os.rename("d/f", "e/h"), "d", "e", "d/l", "e/g")
t("rename over", lambda: os.rename("d/f", "e/g"), "d", "e", "d/two"); t("rename a directory", lambda: os.rename("d", "e/d2"), "e", "e/g")
t("exchange", lambda: libc.renameat2(-100, b"d/f", -100, b"e/g", 2), "d", "e")
t("setxattr", lambda: os.setxattr("d/f", "user.a", b"x")); t("removexattr", lambda: os.removexattr("d/f", "user.old"))
t("setfacl", lambda: os.setxattr("d/f", "system.posix_acl_access", ACL))
for mode, length in (0, 100000), (1, 100000), (3, 3), (16, 3): t(f"fallocate {mode}", lambda: allocate(mode, length))
t("readdir", lambda: os.listdir("d")); t("readlink", lambda: os.readlink("d/l"), "d", "d/l"); t("rmdir", lambda: (os.unlink("e/g"), os.rmdir("e")), "d", ".")
PY
}
same_on_twins changed

say "what is made or written later is not older"
python3 - "$T/map" <<'PY'
import os, sys
os.chdir(sys.argv[1])
older = {"write after create": 0, "write after mkdir": 0, "write": 0}
for i in range(300):
    open("first", "w").close()
    with open("second", "w") as f:
        f.write("made from the first")
    older["write after create"] += os.stat("second").st_mtime_ns < os.stat("first").st_mtime_ns
    os.unlink("first"); os.unlink("second")
    os.mkdir("dir")
    with open("file", "w") as f:
        before = os.fstat(f.fileno()).st_mtime_ns
        f.write("x"); f.flush()
        older["write"] += os.fstat(f.fileno()).st_mtime_ns < before
    older["write after mkdir"] += os.stat("file").st_mtime_ns < os.stat("dir").st_mtime_ns
    os.rmdir("dir"); os.unlink("file")
assert not any(older.values()), older
PY
umount_twins

say "small inodes have seconds, from the first moment on"
truncate -s 32M "$T/small.img"
mke2fs -q -F -I 128 "$T/small.img"
fusectl mount ext4-map "$T/small.img" "$T/map" -o allow_other >/dev/null
echo x >"$T/map/file"
mkdir "$T/map/dir"
touch -d 2001-02-03T04:05:06.789 "$T/map/dir/file"
shown() { (cd "$T/map" && stat -c '%n %.9X %.9Y %.9Z' file dir dir/file); }
before=$(shown)
forget_caches
assert_equal "$(shown)" "$before" "times after they were forgotten"
fusectl umount "$T/map"
