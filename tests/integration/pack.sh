#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Packs: a tree written once, served by mappings: every byte, name and attribute as it was; a damaged one gives errors and no lies.
. "$TOP/tests/lib/lib.sh"
fill_tree "$T/tree" 150
printf 'x' >"$T/tree/one"
: >"$T/tree/empty"
truncate -s 3M "$T/tree/hole"
printf 'end' | dd of="$T/tree/hole" bs=1 seek=2000000 conv=notrunc status=none
head -c 3000001 /dev/urandom >"$T/tree/big"
ln "$T/tree/big" "$T/tree/big-again"
ln -s ../somewhere "$T/tree/link"
mkdir -p "$T/tree/a/b/c" && echo deep >"$T/tree/a/b/c/file"
chmod 4750 "$T/tree/one" && chown 12:34 "$T/tree/one"
setfattr -n user.colour -v green "$T/tree/one" 2>/dev/null || python3 -c "import os,sys; os.setxattr(sys.argv[1], 'user.colour', b'green')" "$T/tree/one"
mkdir "$T/mnt"
"$STAGE/bin/fused-pack" "$T/tree" "$T/pack" >"$T/out"
files=$(find "$T/tree" -type f -printf '%i\n' | sort -u | wc -l)
assert_equal "$("$STAGE/bin/fused-pack" --json "$T/tree" "$T/pack3" | json "d['files'], sorted(d)")" "($files, ['bytes', 'extents', 'files'])"
assert_equal "$("$STAGE/bin/fused-pack" --json verify "$T/pack3" | json "d['damaged']")" 0
"$STAGE/bin/fused-pack" verify "$T/pack" | grep -q ' 0 damaged' || fail "a fresh pack is damaged"
"$STAGE/bin/fused-pack" "$T/tree" "$T/pack2" >/dev/null
cmp "$T/pack" "$T/pack2" || fail "the same tree makes another pack"
listing() { (cd "$1" && find . -printf '%P %y %m %U:%G %n %l %TY%Tm%Td%TH%TM%TS %s\n' | sed 's/^\(.* d .*\) [0-9]*$/\1/' | sort); }
start_fused

say "an image file"
id=$(fusectl mount pack "$T/pack" "$T/mnt")
listing "$T/tree" >"$T/was"
listing "$T/mnt" | diff "$T/was" - || fail "names or attributes differ"
checksums "$T/tree" >"$T/sums"
checksums "$T/mnt" | diff "$T/sums" - || fail "contents differ"
assert_equal "$(python3 -c "import os,sys; print(os.getxattr(sys.argv[1], 'user.colour').decode(), os.listxattr(sys.argv[1]))" "$T/mnt/one")" "green ['user.colour']"
cmp <(dd if="$T/mnt/big" bs=1M iflag=direct status=none) "$T/tree/big" || fail "direct reads differ"
assert_equal "$(python3 -c "import os,sys; f=os.open(sys.argv[1], os.O_RDONLY); print(os.lseek(f, 0, os.SEEK_DATA) // 4096, os.lseek(f, 1999872, os.SEEK_HOLE) // 4096)" "$T/mnt/hole")" "488 489" "where its hole ends and begins"
for f in hole big one; do
        assert_equal "$(stat -c '%b' "$T/mnt/$f")" "$(python3 -c "import os, sys
fd, at, n = os.open(sys.argv[1], os.O_RDONLY), 0, 0
size = os.fstat(fd).st_size
while at < size:
    try: start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError: break
    at = os.lseek(fd, start, os.SEEK_HOLE)
    n += -(-at // 4096) * 4096 - start // 4096 * 4096
print(n // 512)" "$T/tree/$f")" "blocks of $f"
done
cp --sparse=auto "$T/mnt/hole" "$T/copy"
[ "$(stat -c %b "$T/copy")" -lt 100 ] || fail "cp writes the hole"
! touch "$T/mnt/new" 2>/dev/null || fail "it can be written"
assert_equal "$(fusectl --json status "$id" | json "d['program']")" learned
[ "$(fusectl --json status "$id" | json "d['mapping']['answered-by-program']")" -gt 100 ] || fail "the program was not asked"
fusectl umount "$T/mnt"

say "a device"
attach_loop "$T/pack"
fusectl mount pack "$LOOP" "$T/mnt" >/dev/null
checksums "$T/mnt" | diff "$T/sums" - || fail "contents differ"
fusectl umount "$T/mnt"
detach_loop "$LOOP"
truncate -s 1M "$T/small"
attach_loop "$T/small"
! "$STAGE/bin/fused-pack" "$T/tree" "$LOOP" >/dev/null 2>"$T/err" || fail "it wrote to a device that is too small"
grep -q "No space left" "$T/err" || fail "no reason told: $(cat "$T/err")"
! fusectl mount pack "$LOOP" "$T/mnt" 2>/dev/null || fail "what is not finished was mounted"
detach_loop "$LOOP"

say "damaged: the superblock, the digests, one block of metadata, data"
"$STAGE/bin/fused-pack" "$T/tree" "$T/pack" >/dev/null
read -r metadata digests < <(python3 -c "
import struct,sys
b=open(sys.argv[1],'rb').read(64); print(struct.unpack_from('<Q',b,24)[0], struct.unpack_from('<Q',b,40)[0])" "$T/pack")
damage() { cp "$T/pack" "$T/bad"; printf '\377' | dd of="$T/bad" bs=1 seek="$1" conv=notrunc status=none; }
for at in 20 $((digests * 4096 + 3)); do
        damage $at
        fusectl mount pack "$T/bad" "$T/mnt" >"$T/out" 2>&1 && fail "a pack that is damaged at $at was mounted"
        grep -q damaged "$T/out" || fail "no reason told: $(cat "$T/out")"
done
damage $(((metadata + 1) * 4096 + 100)) # inodes
fusectl mount pack "$T/bad" "$T/mnt" >/dev/null
(cd "$T/mnt" && find . -type f -exec sha256sum {} + 2>"$T/err" || true) | LC_ALL=C sort >"$T/read"
sum=$(LC_ALL=C sort "$T/sums" | LC_ALL=C comm -13 - "$T/read" | wc -l)
grep -q "needs cleaning" "$T/err" || fail "nothing was found to be damaged: $(head -n 3 "$T/err")"
assert_equal "$sum" 0 "files that read as something else"
fusectl umount "$T/mnt"
! "$STAGE/bin/fused-pack" verify "$T/bad" 2>/dev/null || fail "verify finds nothing"
damage 100000 # data: the tool finds it
! "$STAGE/bin/fused-pack" verify "$T/bad" 2>"$T/err" || fail "verify finds no damaged data"
grep -q 'its data is damaged' "$T/err"

say "a file that changes while it is packed"
mkdir "$T/busy"
head -c 64M /dev/urandom >"$T/busy/changes"
python3 - "$T/busy/changes" "$T/writing" <<'PY' & writer=$!
import os, sys
fd, i = os.open(sys.argv[1], os.O_RDWR), 0
open(sys.argv[2], "w")
while True:
    i += 1
    os.pwrite(fd, b"%08d" % i, i * 7919 * 4096 % (64 << 20))
PY
wait_for "the writer" 10 test -e "$T/writing"
status=0; message=$("$STAGE/bin/fused-pack" "$T/busy" "$T/pack4" 2>&1) || status=$?
kill $writer; wait $writer 2>/dev/null || true
assert_equal $status 1 "exit status"
assert_equal "$message" "fused-pack: changes: it has changed while it was packed"
! "$STAGE/bin/fused-pack" verify "$T/pack4" 2>/dev/null || fail "what is not finished is a pack"
"$STAGE/bin/fused-pack" "$T/busy" "$T/pack4" >/dev/null
"$STAGE/bin/fused-pack" verify "$T/pack4" >/dev/null || fail "when it rests it cannot be packed"

say "sparse files take the time of their data"
mkdir "$T/sparse"
truncate -s 8T "$T/sparse/hole"
printf end | dd of="$T/sparse/hole" bs=1 seek=5000000000 conv=notrunc status=none
timeout 20 "$STAGE/bin/fused-pack" "$T/sparse" "$T/pack5" >/dev/null || fail "a hole takes its time"
timeout 20 "$STAGE/bin/fused-pack" verify "$T/pack5" >/dev/null || fail "verifying a hole takes its time"

say "packs that are made to take for ever"
craft() { # FILE EXTENTS LENGTH FILES: so many files of 2^61 bytes, all with the same extents, each of the same LENGTH blocks of 1000
        python3 - "$@" <<'PY'
import hashlib, struct, sys
path, n_extents, length, n_files = sys.argv[1], *map(int, sys.argv[2:])
sha256 = lambda data: hashlib.sha256(data).digest()
inode = lambda mode, size, count, parent=0: struct.pack("<IIIIQQqIIQQQII32s", mode, 1, 0, 0, size, 0, 0, 0, 0, 0, count, 0, 0, parent, bytes(32))
inodes = inode(0o40755, 0, 1, 1) + inode(0o100644, 1 << 61, n_extents) * n_files
extents = b"".join(struct.pack("<QQQ", i * length * 4096, length * 4096, 4096) for i in range(n_extents))
entries, strings = struct.pack("<QII", 0, 1, 2), b"f"
tables, area = b"", b""
for rows, size in ((inodes, 112), (extents, 24), (entries, 16), (strings, 1)):
    tables += struct.pack("<QQ", len(area), len(rows) // size)
    area += rows + bytes(-len(rows) % 8)
area += bytes(-len(area) % 4096)
n = len(area) // 4096
digests = b"".join(sha256(area[i * 4096:][:4096])[:8] for i in range(n))
blocks = (len(digests) + 4095) // 4096
super_block = struct.pack("<8sIIQQQQ", b"fusdpack", 2, 4096, 1001 + n + blocks, 1001, n, 1001 + n) + tables + struct.pack("<Q", 0) + sha256(digests)
with open(path, "wb") as f:
    f.write(super_block + sha256(super_block))
    f.seek(1001 * 4096)
    f.write(area + digests + bytes(-len(digests) % 4096))
PY
}
for parts in "0 0 1" "3 1000 1" "20000 1000 1" "20000 1 2000"; do
        # shellcheck disable=SC2086
        craft "$T/crafted" $parts
        status=0; timeout 20 "$STAGE/bin/fused-pack" verify "$T/crafted" >"$T/out" 2>&1 || status=$?
        assert_equal $status 1 "verifying $parts"
        fusectl mount pack "$T/crafted" "$T/mnt" >/dev/null || fail "$parts: not mounted: $(cat "$T/out")"
        assert_equal "$(stat -c %s "$T/mnt/f")" $((1 << 61))
        head -c 100000 "$T/mnt/f" >/dev/null
        fusectl umount "$T/mnt"
done
grep -q "of other files" "$T/out" || fail "$(head -n 3 "$T/out")"

say "a pack that is made in the tree itself"
mkdir "$T/self"
echo content >"$T/self/file"
for _ in 1 2; do
        "$STAGE/bin/fused-pack" "$T/self" "$T/self/itself" >/dev/null
        "$STAGE/bin/fused-pack" verify "$T/self/itself" >/dev/null || fail "it is damaged"
        fusectl mount pack "$T/self/itself" "$T/mnt" >/dev/null
        assert_equal "$(ls "$T/mnt") $(cat "$T/mnt/file")" "file content"
        fusectl umount "$T/mnt"
done

say "more metadata than a server has memory for"
grep -qx "Memory=1G" "$STAGE/lib/fused/types/pack.conf" || fail "the limit of metadata is made for 1G"
python3 - "$T/much" <<'PY'
import hashlib, struct, sys
sha256 = lambda data: hashlib.sha256(data).digest()
n = (768 << 20) // 4096 + 1
super_block = struct.pack("<8sIIQQQQ8QQ", b"fusdpack", 2, 4096, n + 1000, 1, n, n + 1, 0, 1, 0, 0, 0, 0, 0, 0, 0) + bytes(32)
with open(sys.argv[1], "wb") as f:
    f.write(super_block + sha256(super_block))
    f.truncate((n + 1000) * 4096)
PY
for command in "fused-pack verify $T/much" "fusectl --runtime-directory $T/run mount pack $T/much $T/mnt"; do
        # shellcheck disable=SC2086
        message=$("$STAGE/bin/"$command 2>&1) && fail "it was taken: $command"
        grep -q "it has more than 768 MiB of metadata" <<<"$message" || fail "$message"
done
