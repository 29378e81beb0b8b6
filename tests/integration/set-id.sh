#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# What a change of a file takes away from those who execute it (set-user-id, set-group-id, capabilities): ext4-map does exactly what
# ext4 does, whoever changes the file, and whichever way it is written.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt" "$T/native" "$T/stripe"
start_fused
for side in map native; do
        truncate -s 64M "$T/$side.img"
        mkfs.ext4 -q -F -E root_owner=0:0 "$T/$side.img"
done
attach_loop "$T/native.img"
native_mount -t ext4 "$LOOP" "$T/native"
attach_loop "$T/map.img"
fusectl mount ext4-map "$LOOP" "$T/mnt" -o allow_other,suid >/dev/null

members=()
for i in 0 1; do
        truncate -s 64M "$T/member$i.img"
        attach_loop "$T/member$i.img"
        members+=("$LOOP")
done
"$STAGE/bin/fused-stripe" create "${members[@]}" >/dev/null
fusectl mount stripe "${members[0]}" "$T/stripe" -o "allow_other,suid,slot.device1=${members[1]}" >/dev/null

changes() { # DIRECTORY FEWER
        python3 - "$@" <<'PY'
import ctypes, mmap, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service, permitted and effective
page = mmap.mmap(-1, 4096)

def buffered(name): fd = os.open(name, os.O_WRONLY); os.pwrite(fd, b"x" * 100, 10); os.close(fd)
def twice(name):
    fd = os.open(name, os.O_WRONLY); os.pwrite(fd, b"x" * 100, 10); os.pwrite(fd, b"y" * 5000, 4096); os.close(fd)
def direct(name): fd = os.open(name, os.O_RDWR | os.O_DIRECT); os.pwrite(fd, page, 4096); os.close(fd)
def append(name): fd = os.open(name, os.O_WRONLY | os.O_APPEND); os.write(fd, b"x" * 8192); os.close(fd)
def cut(name): os.truncate(name, 100)
def longer(name): os.truncate(name, 50000)
def open_truncate(name): os.close(os.open(name, os.O_WRONLY | os.O_TRUNC))
def allocate(name): fd = os.open(name, os.O_RDWR); assert libc.fallocate(fd, 0, 0, 100000) == 0; os.close(fd)
def refused(name):
    fd = os.open(name, os.O_RDWR); failed = libc.fallocate(fd, 0, 1 << 45, 4096) != 0; error = ctypes.get_errno(); os.close(fd)
    if failed: raise OSError(error, name)
def punch(name): fd = os.open(name, os.O_RDWR); assert libc.fallocate(fd, 3, 0, 8192) == 0; os.close(fd)
def chown_user(name): os.chown(name, 1234, -1)
def chown_group(name): os.chown(name, -1, 1000)
def chmod(name): os.chmod(name, 0o6755)
def times(name): os.utime(name)
def read(name): os.close(os.open(name, os.O_RDONLY))

def child(uid, change, name):
    pid = os.fork()
    if pid == 0:
        try:
            if uid: os.setgroups([]); os.setgid(uid); os.setuid(uid)
            change(name)
        except OSError as e: os._exit(e.errno)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

fewer = len(sys.argv) > 2  # no extended attributes, no allocation by request
for uid in 0, 1000:
    for mode in 0o6777, 0o4777, 0o2777, 0o2767, 0o777:
        for capability in [False] if fewer else [False, True]:
            for change in buffered, twice, direct, append, cut, longer, open_truncate, allocate, refused, punch, chown_user, chown_group, chmod, times, read:
                if fewer and change in (allocate, refused, punch): continue
                if change is refused and capability: continue  # FUSE takes that away before it asks the server
                name = f"{uid}-{mode:o}-{int(capability)}-{change.__name__}"
                with open(name, "wb") as f: f.write(b"a" * 20000)
                os.chown(name, 1000, 2000); os.chmod(name, mode)
                if capability: os.setxattr(name, "security.capability", CAPABILITY)
                result = child(uid, change, name)
                try: left = len(os.getxattr(name, "security.capability"))
                except OSError: left = 0
                print(name, "result", result, "mode", oct(os.stat(name).st_mode), "capability", left)
PY
}
changes "$T/native" >"$T/native.txt"
changes "$T/mnt" >"$T/mnt.txt"
assert_equal "$(wc -l <"$T/native.txt")" 290 "cases"
diff "$T/native.txt" "$T/mnt.txt" || fail "set-id bits or capabilities are treated otherwise than by ext4"
changes "$T/stripe" fewer >"$T/stripe.txt"
assert_equal "$(wc -l <"$T/stripe.txt")" 120 "cases of stripe"
diff <(grep -Ff <(cut -d' ' -f1 "$T/stripe.txt" | sed 's/$/ /') "$T/native.txt") "$T/stripe.txt" || fail "stripe treats set-id bits otherwise than ext4"
# both answers occur: something is taken away, something is left
grep -q 'mode 0o106777' "$T/mnt.txt" && grep -q '6777-1-buffered .*mode 0o100777 capability 0' "$T/mnt.txt" || fail "nothing was tested"

say "the kernel does not ask about capabilities at each write"
python3 - "$T/mnt/0-777-0-buffered" "$(fusectl --json status "$T/mnt" | json "d['server-pid']")" <<'PY' || fail "each write costs a request"
import os, sys
def calls(pid):  # of all processes below: what was read, requests among it
    pids, todo = [], [int(pid)]
    while todo:
        p = todo.pop(); pids.append(p)
        todo += [int(w) for w in open(f"/proc/{p}/task/{p}/children").read().split()]
    return sum(int(line.split()[1]) for p in pids for line in open(f"/proc/{p}/io") if line.startswith("syscr"))
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, b"x", 0)
before = calls(sys.argv[2])
for i in range(1000): os.pwrite(fd, b"y" * 512, i % 16 * 512)
made = calls(sys.argv[2]) - before
print(made, "reads by the server for 1000 writes")
sys.exit(made > 100)
PY
fusectl umount "$T/mnt"
fusectl umount "$T/stripe"
fsck_clean "$T/map.img"
