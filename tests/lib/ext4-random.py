#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random operations on two directories, which have to have the same results.

  ext4-random.py SEED STEPS ONE OTHER    ext4-random.py compare ONE OTHER
"""
import ctypes, errno, hashlib, mmap, os, random, stat, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
KEEP, PUNCH, ZERO = 1, 3, 16
ACL = "system.posix_acl_access", "system.posix_acl_default"


def checked(r):
    if r < 0:
        raise OSError(ctypes.get_errno(), "")


def content(path):
    with open(path, "rb") as f:
        return hashlib.sha1(f.read()).hexdigest()


def describe(path):
    s = os.lstat(path)
    special = not stat.S_ISREG(s.st_mode) and not stat.S_ISDIR(s.st_mode)  # the kernel does not ask a FUSE server to take set-id from these
    out = [oct(s.st_mode & ~(0o6000 if special else 0)), s.st_nlink, s.st_uid, s.st_gid, s.st_rdev, 0 if stat.S_ISDIR(s.st_mode) else s.st_size]
    if stat.S_ISLNK(s.st_mode):
        out.append(os.readlink(path))
    else:
        out.append(sorted((x, os.getxattr(path, x)) for x in os.listxattr(path)))
    if stat.S_ISREG(s.st_mode):
        out.append(content(path))
    return out


def tree(top):
    out = {}
    for directory, subdirectories, files in os.walk(top):
        subdirectories[:] = [x for x in subdirectories if x != "lost+found"]
        for name in subdirectories + files:
            path = os.path.join(directory, name)
            out[os.path.relpath(path, top)] = describe(path)
    return out


def compare(one, other):
    a, b = tree(one), tree(other)
    for path in sorted(set(a) | set(b)):
        if a.get(path) != b.get(path):
            sys.exit(f"{path}: {a.get(path)} and {b.get(path)}")


class Random:
    def __init__(self, seed, tops):
        self.random, self.tops, self.step, self.names = random.Random(seed), tops, 0, []
        self.operations = [getattr(self, x) for x in sorted(dir(self)) if x.startswith("on_")]

    def both(self, what, f, *arguments):
        """f gets the top directory; an error is a result."""
        results = []
        for top in self.tops:
            try:
                results.append(f(top + "/"))
            except OSError as e:
                results.append(errno.errorcode[e.errno])
        if results[0] != results[1]:
            sys.exit(f"step {self.step}: {what}{arguments}: {results[0]} and {results[1]}")

    def path(self):
        """One that is there, more often than not."""
        if self.names and self.random.random() < .7:
            return self.random.choice(self.names)
        parents = [x for x in self.names if os.path.isdir(f"{self.tops[1]}/{x}")] + [""]
        return os.path.join(self.random.choice(parents), self.random.choice(["a", "b", "c", "d", "e", "\u00fc", "n" * 200]))

    def place(self):
        return self.random.choice([0, self.random.randrange(5000), self.random.randrange(300000), self.random.randrange(70) * 4096])

    def size(self):
        return self.random.choice([1, 10, 4096, self.random.randrange(1, 150000)])

    def with_file(self, path, f, flags=os.O_RDWR):
        def run(top):
            fd = os.open(top + path, flags | os.O_NONBLOCK)
            try:
                return f(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else "no file"
            finally:
                os.close(fd)
        return run

    def on_create(self):
        p, mode = self.path(), self.random.choice([0o644, 0o600, 0o2755, 0o4711])
        self.both("create", lambda t: os.close(os.open(t + p, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK, mode)), p, mode)

    def on_mkdir(self):
        p, mode = self.path(), self.random.choice([0o755, 0o2775, 0o1777])
        self.both("mkdir", lambda t: os.mkdir(t + p, mode), p, mode)

    def on_mknod(self):
        p, kind = self.path(), self.random.choice([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
        device = self.random.choice([os.makedev(1, 3), os.makedev(255, 255), os.makedev(300, 70000)])
        self.both("mknod", lambda t: os.mknod(t + p, kind | 0o644, device), p, kind, device)

    def on_symlink(self):
        p, n = self.path(), self.random.choice([1, 59, 60, 61, 900])
        self.both("symlink", lambda t: os.symlink("t" * n, t + p), p, n)

    def on_link(self):
        p, q = self.path(), self.path()
        self.both("link", lambda t: os.link(t + p, t + q, follow_symlinks=False), p, q)

    def on_unlink(self):
        p = self.path()
        self.both("unlink", lambda t: os.unlink(t + p), p)

    def on_rmdir(self):
        p = self.path()
        self.both("rmdir", lambda t: os.rmdir(t + p), p)

    def on_rename(self):
        p, q, flags = self.path(), self.path(), self.random.choice([0, 0, 1, 2, 3])
        self.both("rename", lambda t: checked(libc.renameat2(-100, (t + p).encode(), -100, (t + q).encode(), flags)), p, q, flags)

    def on_chmod(self):
        p, mode = self.path(), self.random.choice([0o644, 0o4755, 0o2755, 0o700, 0o1777])
        if not os.path.islink(f"{self.tops[1]}/{p}"):
            self.both("chmod", lambda t: os.chmod(t + p, mode), p, mode)

    def on_chown(self):
        p, uid, gid = self.path(), self.random.choice([-1, 0, 1000, 70000]), self.random.choice([-1, 0, 2000, 100000])
        gid = 0 if uid < 0 and gid < 0 else gid  # of a chown to nobody else, which takes set-id, too, FUSE does not tell
        self.both("chown", lambda t: os.chown(t + p, uid, gid, follow_symlinks=False), p, uid, gid)

    def on_truncate(self):
        p, n = self.path(), self.place()
        self.both("truncate", self.with_file(p, lambda fd: os.ftruncate(fd, n)), p, n)

    def on_write(self):
        p, at, data = self.path(), self.place(), self.random.randbytes(self.size())
        self.both("write", self.with_file(p, lambda fd: os.pwrite(fd, data, at)), p, at, len(data))

    def on_append(self):
        p, data = self.path(), self.random.randbytes(self.size())
        self.both("append", self.with_file(p, lambda fd: os.write(fd, data), os.O_WRONLY | os.O_APPEND), p, len(data))

    def on_direct(self):
        p, at, n = self.path(), self.random.randrange(70) * 4096, self.random.randrange(1, 20) * 4096
        buffer = mmap.mmap(-1, n)
        buffer[:] = self.random.randbytes(n)
        self.both("direct write", self.with_file(p, lambda fd: os.pwritev(fd, [buffer], at), os.O_WRONLY | os.O_DIRECT), p, at, n)

    def on_mapped(self):
        p, data = self.path(), self.random.randbytes(3000)

        def change(fd):
            n = os.fstat(fd).st_size
            if 0 < n < 1 << 20:
                with mmap.mmap(fd, n) as m:
                    m[n // 2:n // 2 + 3000] = data[:n - n // 2]
        self.both("mmap", self.with_file(p, change), p)

    def on_read(self):
        p, at, n = self.path(), self.place(), self.size()
        self.both("read", self.with_file(p, lambda fd: hashlib.sha1(os.pread(fd, n, at)).hexdigest(), os.O_RDONLY), p, at, n)

    def on_fallocate(self):
        p, at, n, mode = self.path(), self.place(), self.size(), self.random.choice([0, KEEP, PUNCH, PUNCH, ZERO, ZERO | KEEP])
        self.both("fallocate", self.with_file(p, lambda fd: checked(libc.fallocate(fd, mode, at, n))), p, at, n, mode)

    def on_fsync(self):
        p = self.path()
        self.both("fsync", self.with_file(p, os.fsync), p)

    def on_setxattr(self):
        p, name = self.path(), self.random.choice(["user.a", "user.b", "trusted.a", "user." + "c" * 100])
        value, flags = b"v" * self.random.choice([0, 10, 100, 600]), self.random.choice([0, 0, 1, 2])
        self.both("setxattr", lambda t: os.setxattr(t + p, name, value, flags, follow_symlinks=False), p, name, len(value), flags)

    def on_removexattr(self):
        p, name = self.path(), self.random.choice(["user.a", "user.b", "trusted.a"])
        self.both("removexattr", lambda t: os.removexattr(t + p, name, follow_symlinks=False), p, name)

    def on_acl(self):
        p, name = self.path(), self.random.choice(ACL)
        entries = [(1, 7, -1), (2, self.random.randrange(8), 1000), (4, 5, -1), (16, self.random.randrange(8), -1), (32, 0, -1)]
        value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *x) for x in entries)
        if not os.path.islink(f"{self.tops[1]}/{p}"):
            self.both("setfacl", lambda t: os.setxattr(t + p, name, value), p, name, entries)

    def run(self, steps):
        for self.step in range(steps):
            self.random.choice(self.operations)()
            if self.step % 10 == 9:
                self.names = sorted(os.path.relpath(os.path.join(d, x), self.tops[1]) for d, s, f in os.walk(self.tops[1]) for x in s + f)
                self.names = [x for x in self.names if not x.startswith("lost+found")][:200]
            if self.step % 100 == 99:
                compare(*self.tops)


if sys.argv[1] == "compare":
    compare(*sys.argv[2:])
else:
    print("seed", sys.argv[1])
    os.umask(0o22)
    Random(int(sys.argv[1]), sys.argv[3:]).run(int(sys.argv[2]))
    compare(*sys.argv[3:])
