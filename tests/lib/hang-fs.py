# SPDX-License-Identifier: LGPL-2.1-or-later
"""hang-fs.py DIRECTORY UID LOG: a FUSE file system with one file, "big", of that user's, which never answers when a process called "fused"
closes it: a process that does is killed in vain until this one ends. Says "mounted" once it is."""
import ctypes
import errno
import os
import struct
import sys

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 4, 14, 15, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 27, 28, 29, 36, 42
SIZE = 1 << 20


def main():
    directory, uid = sys.argv[1].encode(), int(sys.argv[2])
    log = open(sys.argv[3], "w", buffering=1, encoding="utf-8")
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hang", directory, b"fuse", 0, options.encode()) != 0:
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)

    def attributes(ino):
        mode = 0o40755 if ino == 1 else 0o100644
        return struct.pack("<QQQQQQIIIIIIIIII", ino, 0 if ino == 1 else SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, 1, uid, uid, 0, 4096, 0)

    def answer(unique, data=b"", error=0):
        try:
            os.write(fd, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)
        except OSError:
            pass  # the caller has gone

    while True:
        try:
            request = os.read(fd, 1 << 21)
        except OSError as e:
            if e.errno == errno.ENODEV:
                return
            continue
        _, operation, unique, node, _, _, pid, _ = struct.unpack_from("<IIQQIIII", request)
        body = request[40:]
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                name = f.read().strip()
        except OSError:
            name = ""
        if operation == INIT:
            flags, flags2 = 1 << 30, 1 << 8  # more flags follow; its mount may be cloned with other ids
            answer(unique, struct.pack("<IIIIHHIIHHI", 7, 41, 65536, flags, 16, 12, 1 << 20, 1, 256, 0, flags2).ljust(64, b"\0"))
        elif operation == GETATTR:
            answer(unique, struct.pack("<QII", 1, 0, 0) + attributes(node))
        elif operation == LOOKUP:
            if node == 1 and body.split(b"\0")[0] == b"big":
                answer(unique, struct.pack("<QQQQII", 2, 0, 1, 1, 0, 0) + attributes(2))
            else:
                answer(unique, error=errno.ENOENT)
        elif operation in (OPEN, OPENDIR):
            answer(unique, struct.pack("<QII", 1, 0, 0))
        elif operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            answer(unique, b"x" * min(size, max(0, SIZE - offset)))
        elif operation == STATFS:
            answer(unique, struct.pack("<QQQQQIIII", 1, 1, 1, 1, 1, 4096, 255, 4096, 0) + bytes(24))
        elif operation == FLUSH and name == "fused":
            log.write(f"held {pid}\n")
        elif operation in (FLUSH, RELEASE, RELEASEDIR, READDIR):
            answer(unique)
        elif operation not in (FORGET, BATCH_FORGET, INTERRUPT):
            answer(unique, error=errno.ENOSYS)


main()
