#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of the BPF programs that the kernel has at the moment and that are of type `syscall`, one a line."""
import ctypes
import os

SYS_BPF, PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, TYPE_SYSCALL = 321, 11, 13, 15, 31
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, data):
    return libc.syscall(SYS_BPF, command, data, len(data))


number = 0
while True:
    attr = ctypes.create_string_buffer(number.to_bytes(4, "little") + bytes(8), 12)
    if bpf(PROG_GET_NEXT_ID, attr) < 0:
        break
    number = int.from_bytes(attr.raw[4:8], "little")
    attr = ctypes.create_string_buffer(number.to_bytes(4, "little") + bytes(8), 12)
    fd = bpf(PROG_GET_FD_BY_ID, attr)
    if fd < 0:
        continue
    info = ctypes.create_string_buffer(256)
    attr = ctypes.create_string_buffer(fd.to_bytes(4, "little") + (80).to_bytes(4, "little") + ctypes.addressof(info).to_bytes(8, "little"), 16)
    if bpf(OBJ_GET_INFO_BY_FD, attr) == 0 and int.from_bytes(info.raw[0:4], "little") == TYPE_SYSCALL:
        print(info.raw[64:80].split(b"\0")[0].decode())
    os.close(fd)
