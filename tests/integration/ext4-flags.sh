#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 120
# ext4-map: a file or directory that is immutable, or can only be added to, is held to it as by the kernel's ext4; what may be done still works.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/ext4-twins.sh"
start_fused

make_twins 64M
fill() { # DIRECTORY: chattr(1) on ext4-map does not make such files
        local name
        for name in imm app; do echo text >"$1/$name"; setfattr -n user.old -v 1 "$1/$name" 2>/dev/null || python3 -c '
import os, sys
os.setxattr(sys.argv[1], "user.old", b"1")' "$1/$name"; done
        for name in immdir appdir plain; do mkdir -p "$1/$name/sub"; echo x >"$1/$name/in"; done
        touch -d 2001-02-03 "$1/app" "$1/imm"
        chattr +i "$1/imm" "$1/immdir"
        chattr +a "$1/app" "$1/appdir"
}
on_both_images fill
mount_twins

results() {
        python3 - "$1" <<'PY'
import ctypes, errno, fcntl, os, struct, sys, time
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def t(what, f, *args, **more):
    try: r = f(*args, **more) or "done"
    except OSError as e: r = errno.errorcode[e.errno]
    print(what, args, "->", r)
def checked(r):
    if r < 0: raise OSError(ctypes.get_errno(), "")
def create(name): os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
def append(name, *more):
    fd = os.open(name, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, b"more\n"); time.sleep(0.05)
        for f in more: f(fd)
    finally: os.close(fd)
def opened(name, flags): os.close(os.open(name, flags))
def allocate(name, mode, at=0):
    fd = os.open(name, os.O_WRONLY | os.O_APPEND)
    try: checked(libc.fallocate(fd, mode, at, 4096))
    finally: os.close(fd)
def exchange(a, b): checked(libc.renameat2(-100, a.encode(), -100, b.encode(), 2))
def set_flag(name, flag):
    fd = os.open(name, os.O_RDONLY)
    try:
        flags, = struct.unpack("i", fcntl.ioctl(fd, 0x80086601, b"\0" * 4))
        fcntl.ioctl(fd, 0x40086602, struct.pack("i", flags | flag))
    finally: os.close(fd)
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in
    [(1, 7, 0xffffffff), (2, 7, 1000), (4, 7, 0xffffffff), (16, 7, 0xffffffff), (32, 7, 0xffffffff)])

print("# what is appended, with its time")
t("append, fsync", append, "app", os.fsync)
t("append, fdatasync", append, "app", os.fdatasync)
t("append", append, "app")
os.sync()
print("modified lately:", time.time() - os.stat("app").st_mtime < 100)
for name in "imm", "app": t("write", opened, name, os.O_RDWR); t("append", opened, name, os.O_WRONLY | os.O_APPEND)
t("truncate", opened, "app", os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
for mode in 0, 1, 3, 16: t("allocate", allocate, "app", mode, 1 << 20)
print("# attributes")
for name in "imm", "app", "immdir", "appdir":
    t("chmod", os.chmod, name, 0o600); t("chown", os.chown, name, 5, 6)
    t("touch", os.utime, name); t("touch -d", os.utime, name, (1, 1))
    t("setxattr", os.setxattr, name, "user.a", b"x"); t("setxattr", os.setxattr, name, "trusted.a", b"x")
    t("removexattr", os.removexattr, name, "user.old"); t("setfacl", os.setxattr, name, "system.posix_acl_access", ACL)
    t("setfacl -b", os.removexattr, name, "system.posix_acl_access")
    print(name, [(n, os.getxattr(name, n)) for n in sorted(os.listxattr(name))], oct(os.stat(name).st_mode))
for name in "imm", "app": t("truncate", os.truncate, name, 1)
print("# an immutable file's other flags")
t("chattr +d", set_flag, "imm", 0x40); t("chattr +d", set_flag, "plain/in", 0x40); t("chattr +d", set_flag, "app", 0x40)
print("# their names")
for name in "imm", "app":
    t("link", os.link, name, "plain/linked"); t("rename", os.rename, name, "plain/renamed"); t("unlink", os.unlink, name)
    create("src"); t("rename over", os.rename, "src", name); t("exchange", exchange, "src", name); os.unlink("src")
print("# names in such directories")
for d in "immdir", "appdir", "plain":
    create("src"); create("linked"); os.mkdir("moved")
    t("rename into", os.rename, "src", d + "/new"); t("rename into", os.rename, "moved", d + "/newdir")
    create("other"); t("rename over", os.rename, "other", d + "/in"); t("exchange", exchange, "other" if os.path.exists("other") else "linked", d + "/in")
    t("exchange", exchange, d + "/in", d + "/sub")
    t("rename within", os.rename, d + "/sub", d + "/sub2"); t("rename out of", os.rename, d + "/in", "out")
    t("create in", create, d + "/c"); t("mkdir in", os.mkdir, d + "/c2"); t("symlink in", os.symlink, "x", d + "/c3"); t("link in", os.link, "linked", d + "/c4")
    t("unlink in", os.unlink, d + "/c"); t("rmdir in", os.rmdir, d + "/c2"); t("write in", append, d + "/c4")
    print(sorted(os.listdir(d)), sorted(os.listdir(".")))
    for name in "src", "linked", "other", "out":
        try: os.unlink(name)
        except OSError: pass
    for name in "moved", "out":
        try: os.rmdir(name)
        except OSError: pass
with open("app") as f: print(f.read())
PY
}
same_on_twins results

say "data of a file that can only be appended to is there after mounting again"
umount_twins
mount_twins
cmp "$T/map/app" "$T/native/app" || fail "what was appended is not the same"
# A utimensat(2) that could be the kernel's own passes; one that could not does not.
say "times of such a file"
touch -m -d 2001-01-01 "$T/map/app" || fail "the time of modification is refused"
touch -a -d 2001-01-01 "$T/map/app" 2>/dev/null && fail "the time of access can be set"
umount_twins
