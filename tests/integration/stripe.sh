#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Striped volumes: files interleaved over devices, by a mapping program; read, overwritten, grown, cut; members that are wrong.
. "$TOP/tests/lib/lib.sh"
stripe() { "$STAGE/bin/fused-stripe" "$@"; }
mkdir "$T/mnt" "$T/twin"
for i in 0 1 2; do truncate -s 24M "$T/m$i"; done
stripe create --chunk 16K "$T/m0" "$T/m1" "$T/m2"
head -c 3000001 /dev/urandom >"$T/twin/first"
head -c 70000 /dev/urandom >"$T/twin/second"
for f in first second; do stripe add $f "$T/m0" "$T/m1" "$T/m2" <"$T/twin/$f"; done
stripe list "$T/m0" "$T/m1" "$T/m2" | grep -q ' 3000001 .* first' || fail "$(stripe list "$T/m0" "$T/m1" "$T/m2")"
say "names that are anybody's"
printf x >"$T/x"
stripe create "$T/x0" "$T/x1" 2>/dev/null && fail "devices that are not there"
for i in 0 1; do truncate -s 8M "$T/x$i"; done
stripe create "$T/x0" "$T/x1"
say "what cannot be a volume"
ln "$T/x0" "$T/x2"
for twice in "$T/x0" "$T/x2"; do
        message=$(stripe create "$T/x1" "$T/x0" "$twice" 2>&1) && fail "the same file twice"
        assert_equal "$message" "fused-stripe: $twice: it is given twice"
done
for size in 4096xyz 64KB 64k K "" 4095 2K 128M 18014398509482048K -4K " 4K"; do
        message=$(stripe create --chunk "$size" "$T/x0" "$T/x1" 2>&1) && fail "chunks of '$size'"
        assert_equal "$message" "fused-stripe: a chunk is a power of two from 4K to 64M"
done
for size in 4096 4K 64M; do
        truncate -s 130M "$T/y0" "$T/y1"
        stripe create --chunk $size "$T/y0" "$T/y1" || fail "no chunks of $size"
done
rm "$T/y0" "$T/y1"
odd=$'a\xff\e[2J'
stripe add "$odd" "$T/x0" "$T/x1" <"$T/x"
stripe list "$T/x0" "$T/x1" | grep -q '  a\\xff\\x1b\[2J$' || fail "$(stripe list "$T/x0" "$T/x1" | od -c)"
assert_equal "$(stripe list --json "$T/x0" "$T/x1" | json "bytes.fromhex(d['files'][0]['name-hex']) == b'a\xff\x1b[2J'")" True
assert_equal "$(stripe add "$odd" "$T/x0" "$T/x1" 2>&1 <"$T/x")" 'fused-stripe: a\xff\x1b[2J: File exists'
start_fused
same() { (cd "$T/twin" && sha256sum -- *) | (cd "$T/mnt" && sha256sum -c --quiet) || fail "$1: contents differ"; }

say "image files: read, overwrite, grow, cut, make, unlink"
id=$(fusectl mount stripe "$T/m0" "$T/mnt" -o "slot.device1=$T/m1,slot.device2=$T/m2")
same "as it was filled"
assert_equal "$(fusectl --json status "$id" | json "d['program']")" stripe
[ "$(fusectl --json status "$id" | json "d['mapping']['answered-by-program']")" -gt 100 ] || fail "the program was not asked"
cmp <(dd if="$T/mnt/first" bs=100K iflag=direct status=none) "$T/twin/first" || fail "direct reads differ"
both() { local d; for d in twin mnt; do (cd "$T/$d" && "$@") || fail "$d: $*"; done; }
head -c 200000 /dev/urandom >"$T/piece"
both dd if="$T/piece" of=first bs=7777 seek=11 conv=notrunc status=none
both dd if="$T/piece" of=new bs=5000 conv=notrunc status=none
both dd if="$T/piece" of=new bs=1000 seek=900 conv=notrunc status=none # skips 700000 bytes
both dd if="$T/piece" of=new bs=64K count=3 seek=40 oflag=direct conv=notrunc status=none
same "before it is written back"
both truncate -s 1234567 first
both truncate -s 1500000 first
both cp first third
both rm second
same "changed"
sync "$T/mnt/first"
fusectl umount "$T/mnt"
stripe check "$T/m0" "$T/m1" "$T/m2" >/dev/null

say "devices: as it was left; the program is not needed"
loops=()
for i in 0 1 2; do attach_loop "$T/m$i"; loops+=("$LOOP"); done
fusectl mount stripe "${loops[0]}" "$T/mnt" -o "slot.device1=${loops[1]},slot.device2=${loops[2]}" >/dev/null
same "after a mount"
assert_equal "$(ls "$T/mnt" | tr '\n' ' ')" "first new third "
message=$(dd if=/dev/zero of="$T/mnt/first" bs=1M seek=1 count=80 conv=notrunc,fsync 2>&1) && fail "80M fit into what is left"
grep -qE "No space left|Input/output" <<<"$message" || fail "not ENOSPC: $message"
truncate -s 1500000 "$T/mnt/first" # which has taken all there was
fusectl umount "$T/mnt"
for l in "${loops[@]}"; do detach_loop "$l"; done

say "a full volume is told by write(2), if it is not cached"
fusectl mount stripe "$T/m0" "$T/mnt" -o "no_writeback,slot.device1=$T/m1,slot.device2=$T/m2" >/dev/null
python3 - "$T/mnt/first" <<'PY' || fail "writes go on"
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
size = before = os.fstat(fd).st_size
try:
    for _ in range(5000):
        size += os.pwrite(fd, b"x" * 65536, size)
except OSError as error:
    assert error.errno == errno.ENOSPC and size > before, error
    os.ftruncate(fd, before)
    os.fsync(fd)
    sys.exit()
sys.exit(1)
PY
fusectl umount "$T/mnt"

say "members that are wrong are named"
refused() { # WORDS NUMBER DEVICES...: which of them
        local words=$1 slot=device$2 which=$(($2 + 3)) out
        out=$(fusectl mount stripe "$3" "$T/mnt" -o "slot.device1=$4${5:+,slot.device2=$5}" 2>&1) && fail "mounted: $words"
        grep -q "${slot/device0/source}: .*$words" <<<"$out" || fail "not '$words': $out"
        out=$(stripe check "${@:3}" 2>&1) && fail "sound: $words"
        grep -q "^fused-stripe: ${!which}: .*$words" <<<"$out" || fail "not '$words': $out"
}
refused "another number of members" 0 "$T/m0" "$T/m1"
refused "another member than its place" 0 "$T/m1" "$T/m0" "$T/m2"
truncate -s 24M "$T/other0" "$T/other1" "$T/other2"
stripe create --chunk 16K "$T/other0" "$T/other1" "$T/other2"
refused "member of another volume" 1 "$T/m0" "$T/other1" "$T/m2"
refused "no member" 1 "$T/m0" "$T/twin/first" "$T/m2"
cp "$T/m1" "$T/bad" && printf '\377' | dd of="$T/bad" bs=1 seek=40 conv=notrunc status=none
refused "its header is damaged" 1 "$T/m0" "$T/bad" "$T/m2"
cp "$T/m1" "$T/bad" && truncate -s 1M "$T/bad"
refused "smaller than the volume" 1 "$T/m0" "$T/bad" "$T/m2"
cp "$T/m0" "$T/bad" && for at in 5000 $((41 * 4096 + 900)); do printf '\377' | dd of="$T/bad" bs=1 seek=$at conv=notrunc status=none; done
refused "both copies of its table" 0 "$T/bad" "$T/m1" "$T/m2"
for copy in 1 41; do
        cp "$T/m0" "$T/bad" && printf '\377' | dd of="$T/bad" bs=1 seek=$((copy * 4096 + 900)) conv=notrunc status=none
        message=$(stripe check "$T/bad" "$T/m1" "$T/m2" 2>&1 >/dev/null) && fail "nothing is wrong"
        assert_equal "$message" "fused-stripe: $T/bad: one copy of its table of files is damaged; this is the other"
        assert_equal "$(stripe list --json "$T/bad" "$T/m1" "$T/m2" | json "d['damaged-copies']")" 1
        fusectl mount stripe "$T/bad" "$T/mnt" -o "slot.device1=$T/m1,slot.device2=$T/m2" >/dev/null || fail "one damaged copy is too much"
        fusectl umount "$T/mnt"
        stripe check "$T/bad" "$T/m1" "$T/m2" >/dev/null || fail "a mount leaves it as it was"
done

say "a hole before what the kernel has only cached, read directly"
fusectl mount stripe "$T/m0" "$T/mnt" -o "slot.device1=$T/m1,slot.device2=$T/m2" >/dev/null
python3 - "$T/mnt/sparse" <<'PY' || fail "a hole reads as an end of file"
import mmap, os, sys
cached = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.pwrite(cached, b"tail", 500000)  # in the kernel's cache, and nowhere else
direct = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
buffer = mmap.mmap(-1, 8192)
sys.exit(os.preadv(direct, [buffer], 12288) != 8192 or buffer[:] != bytes(8192))
PY
fusectl umount "$T/mnt"

say "what a crash leaves: rows of an unlinked file are its own, or nobody's"
for i in 0 1; do truncate -s 16M "$T/k$i"; done
stripe create --chunk 16K "$T/k0" "$T/k1"
fusectl mount stripe "$T/k0" "$T/mnt" -o "slot.device1=$T/k1" >/dev/null
head -c 24M /dev/zero | tr '\0' A >"$T/mnt/old"
sync "$T/mnt/old"
python3 - "$T" <<'PY'
import mmap, os, shutil, sys
t = sys.argv[1]
for cut in (lambda: os.truncate(t + "/mnt/old", 4 << 20), lambda: os.unlink(t + "/mnt/old")):
    cut()
    direct = os.open(t + "/mnt/new", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    data = mmap.mmap(-1, 1 << 20)
    data.write(b"S" * len(data))
    for i in range(12):
        os.pwrite(direct, data, i << 20)
    for i in "01":
        shutil.copy(t + "/k" + i, t + "/crash" + i + ("u" if not os.path.exists(t + "/mnt/old") else "t"))
    os.close(direct)
    os.unlink(t + "/mnt/new")
PY
fusectl umount "$T/mnt"
for k in t u; do
        fusectl mount stripe "$T/crash0$k" "$T/mnt" -o "slot.device1=$T/crash1$k" >/dev/null
        [ ! -e "$T/mnt/old" ] || ! grep -q S "$T/mnt/old" || fail "a file reads what another has written ($k)"
        fusectl umount "$T/mnt"
done
