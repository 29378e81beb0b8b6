#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# ext4-map: what it refuses, by name, beside a neighbour that mounts; what it reads only; and operations that change nothing when refused.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt" "$T/native" "$T/tree"
fill_tree "$T/tree" 60
start_fused
image() { # FILE mke2fs-OPTIONS...
        rm -f "$1"
        truncate -s 48M "$1"
        mke2fs -q -F "${@:2}" "$1" >/dev/null 2>&1 || fail "mke2fs ${*:2}"
}
try() { fusectl mount ext4-map "$1" "$T/mnt" "${@:2}" 2>&1; }
refused() { # WORDS FILE [mount options]
        local words=$1 out
        shift
        out=$(try "$@") && fail "mounted: $words"
        grep -qF "$words" <<<"$out" || fail "not '$words': $out"
}
mounts() { # FILE [mount options]
        try "$@" >/dev/null || fail "does not mount: $(fusectl mount ext4-map "$@" "$T/mnt" 2>&1)"
        fusectl umount "$T/mnt"
}

say "refused in any case, by name; without that feature it mounts"
for feature in inline_data encrypt casefold verity ea_inode mmp; do
        image "$T/a" -t ext4 -O "$feature"
        refused "$feature" "$T/a"
        refused "$feature" "$T/a" -o ro
        image "$T/a" -t ext4 -O "^$feature"
        mounts "$T/a"
done
image "$T/a" -O journal_dev
refused journal_dev "$T/a"

say "read-only: what could not be kept true"
for feature in quota project,quota bigalloc; do
        image "$T/a" -t ext4 -O "$feature" -d "$T/tree"
        refused "cannot be written: mount it with -o ro" "$T/a"
        try "$T/a" -o ro >/dev/null || fail "$feature does not mount with -o ro"
        checksums "$T/mnt" >"$T/sums"
        fusectl umount "$T/mnt"
        native_mount -o loop,ro "$T/a" "$T/native"
        checksums "$T/native" | diff - "$T/sums" || fail "$feature reads differently"
        umount "$T/native"
done
image "$T/a" -t ext4 -O orphan_file
debugfs -w -R 'feature orphan_present' "$T/a" >/dev/null 2>&1
if dumpe2fs -h "$T/a" 2>/dev/null | grep -q orphan_present; then
        refused "orphan_present (run e2fsck -fy)" "$T/a"
else
        say "(this e2fsprogs does not know orphan_present)"
fi
image "$T/a" -t ext4
debugfs -w -R 'ssv state 2' "$T/a" >/dev/null 2>&1
refused "errors have been found in it earlier" "$T/a"
mounts "$T/a" -o ro

say "a refused fallocate leaves the file as it was"
image "$T/a" -t ext2 -E root_owner=0:0
try "$T/a" >/dev/null
head -c 100000 /dev/urandom >"$T/mnt/file"
sum=$(md5sum <"$T/mnt/file")
fallocate --zero-range --offset 1000 --length 50000 "$T/mnt/file" 2>/dev/null && fail "ext2 has no unwritten space"
sync "$T/mnt/file"
assert_equal "$(dd if="$T/mnt/file" bs=100000 iflag=direct status=none | md5sum)" "$sum" "contents"
fallocate --punch-hole --offset 1000 --length 50000 "$T/mnt/file"
assert_equal "$(head -c 51000 "$T/mnt/file" | tail -c 50000 | md5sum)" "$(head -c 50000 /dev/zero | md5sum)" "a hole, which it has"
fusectl umount "$T/mnt"

say "lsattr and chattr"
image "$T/a" -t ext4 -E root_owner=0:0
native_mount -o loop "$T/a" "$T/native"
echo text | tee "$T/native/immutable" "$T/native/append" >"$T/native/plain"
chattr +i "$T/native/immutable"
chattr +a "$T/native/append"
flags=$(cd "$T/native" && lsattr | sort -k 2)
umount "$T/native"
try "$T/a" >/dev/null
assert_equal "$(cd "$T/mnt" && lsattr | sort -k 2)" "$flags" "lsattr"
echo more 2>/dev/null >>"$T/mnt/immutable" && fail "an immutable file was written"
rm -f "$T/mnt/immutable" 2>/dev/null && fail "an immutable file was removed"
echo more 2>/dev/null 1<>"$T/mnt/append" && fail "a file for appending was overwritten"
echo more >>"$T/mnt/append"
for flag in +i +a -e; do chattr $flag "$T/mnt/plain" 2>/dev/null && fail "chattr $flag"; done
chattr -i "$T/mnt/immutable" 2>/dev/null && fail "chattr -i"
chattr +dA "$T/mnt/plain"
flags=$(cd "$T/mnt" && lsattr | sort -k 2)
grep -q 'd.*A.*plain' <<<"$flags" || fail "$flags"
fusectl umount "$T/mnt"
fsck_clean "$T/a"
native_mount -o loop,ro "$T/a" "$T/native"
assert_equal "$(cd "$T/native" && lsattr | sort -k 2)" "$flags" "lsattr of the kernel"
umount "$T/native"
