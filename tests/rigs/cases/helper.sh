#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Another mount helper of root's uses the same socket: libfuse's protocol from its first packet, nothing of fused's in between. And
# nobody but root can connect.
. "$TOP/tests/rigs/lib.sh"
systemctl start fuse-service-mirror.socket
cat >"$T/helper.py" <<'EOF'
import array, os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
try:
    s.connect("/run/filesystems/mirror")
except PermissionError:
    print("refused")
    sys.exit(0)
s.send(struct.pack(">4sHHI", b"SAFT", 1, 1, 3))
answer = s.recv(4096)
assert answer == struct.pack(">4sHH", b"LAST", 1, 0), answer
words = [b"mirror\0", b"/nowhere\0", b"/mnt\0"]
base = 8 + 8 * len(words)
table, strings = b"", b""
for word in words:
    table += struct.pack(">II", base + len(strings), len(word))
    strings += word
argv = os.memfd_create("argv")
os.write(argv, struct.pack(">4sI", b"ARGS", len(words)) + table + strings)
def send_file(name, fd):
    s.sendmsg([struct.pack(">4sI", b"FILE", 0) + name + b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
send_file(b"argv", argv)
send_file(b"fusedev", os.open("/dev/fuse", os.O_RDWR))
command = s.recv(65536)
assert command[:4] in (b"OPEN", b"BDEV", b"TYPE", b"BYEE"), command
print("speaks", command[:4].decode())
EOF
/usr/bin/python3 "$T/helper.py" | tee "$T/out"
grep -q '^speaks ' "$T/out"
wait_for "the end of the unit" 10 no_units_of mirror
chmod 755 "$T"
as_user $ALICE /usr/bin/python3 "$T/helper.py" | grep -qx refused || fail "an ordinary user may start servers"
