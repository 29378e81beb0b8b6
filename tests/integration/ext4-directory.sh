#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 300
# ext4-map: directories with a hash tree, made by the kernel's ext4 and by ext4-map. While names come, go and change, whoever is there all the time is
# listed once; the kernel finds what ext4-map has made; and many names cost no more each than few.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/ext4-twins.sh"
start_fused

fill() { # DIRECTORY
        mkdir "$1/kernel"
        python3 -c 'for i in range(3000): open(f"'"$1"'/kernel/file-{i}-some-more-of-a-name", "w").close()'
}
changing() { # DIRECTORY: says what was listed wrongly
        python3 - "$1" <<'PY'
import collections, ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def entries(fd):
    buffer = ctypes.create_string_buffer(2048)
    n = libc.syscall(217, fd, buffer, len(buffer))  # getdents64
    if n < 0: raise OSError(ctypes.get_errno(), "getdents64")
    at = 0
    while at < n:
        ino, position, length, kind = struct.unpack_from("<QqHB", buffer.raw, at)
        yield buffer.raw[at + 19:at + length].split(b"\0")[0].decode(), position
        at += length
def create(d, k): open(f"{d}/new-{k}-and-a-longer-name-to-fill", "w").close()
def unlink(d, k):
    name = f"{d}/new-{k}-and-a-longer-name-to-fill"
    if os.path.exists(name): os.unlink(name)
def rename(d, k): open(f"{d}/t", "w").close(); os.rename(f"{d}/t", f"{d}/renamed-{k}-xxxxxxxxxxxxxxxxxxxxxxxxxx")
for d in f"{sys.argv[1]}/kernel", f"{sys.argv[1]}/own":
    for action in create, unlink, rename:
        there = set(os.listdir(d)); seen = collections.Counter(); k = 0
        fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
        while part := list(entries(fd)):
            seen.update(name for name, position in part)
            for k in range(k, min(k + 40, 2000)): action(d, k)
        there &= set(os.listdir(d))
        print(os.path.basename(d), action.__name__, len(there) > 2900, "missed", sum(not seen[x] for x in there), "repeated", sum(seen[x] > 1 for x in there))
        os.close(fd)
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY); order = []
    while part := list(entries(fd)): order += part
    wrong = 0
    for i in range(0, len(order) - 1, 37):
        os.lseek(fd, order[i][1], 0)
        wrong += next(entries(fd))[0] != order[i + 1][0]
    os.close(fd); print(os.path.basename(d), "seekdir", wrong)
PY
}
own() { mkdir "$1/own"; python3 -c 'for i in range(3000): open(f"'"$1"'/own/file-{i}-some-more-of-a-name", "w").close()'; }
content() { find "$1" -mindepth 1 -printf '%P\n' | grep -v lost+found | sort; }

for options in "-b 1024 -N 20000" "-b 4096 -N 20000 -O ^metadata_csum,^64bit"; do
        say "$options"
        # shellcheck disable=SC2086
        make_twins 96M $options
        on_both_images fill
        mount_twins
        own "$T/map"
        own "$T/native"
        same_on_twins changing
        same_on_twins content
        content "$T/map" >"$T/before"
        umount_twins
        attach_loop "$T/map.img"
        mount -t ext4 "$LOOP" "$T/native"
        content "$T/native" | diff "$T/before" - || fail "the kernel sees other names"
        python3 -c 'import os, sys; [os.unlink(os.path.join(sys.argv[1], x)) for x in os.listdir(sys.argv[1])]' "$T/native/own"
        rmdir "$T/native/own"
        umount "$T/native"
        detach_loop "$LOOP"
        fsck_clean "$T/map.img"
done

say "20,000 names: the last ones cost the server what the first ones did"
make_twins 96M -N 30000
mount_twins
python3 - "$T/map" "$(fusectl --json status "$T/map" | python3 -c 'import json, sys; print(json.load(sys.stdin)["server-pid"])')" <<'PY' || fail "it gets slower"
import os, sys
def used():
    with open(f"/proc/{sys.argv[2]}/stat") as f: return sum(map(int, f.read().split()[13:15]))
os.mkdir(sys.argv[1] + "/many"); taken = []
for part in range(4):
    before = used()
    for i in range(part * 5000, part * 5000 + 5000): os.close(os.open(f"{sys.argv[1]}/many/{i}", os.O_CREAT | os.O_WRONLY))
    taken.append(used() - before)
before = used()
for i in range(0, 20000, 4): os.unlink(f"{sys.argv[1]}/many/{i}")
taken.append(used() - before)
print("ticks:", taken)
assert max(taken[1:]) < 3 * taken[0], taken
PY
assert_equal "$(find "$T/map/many" -mindepth 1 | wc -l)" 15000 "names that are left"
umount_twins
