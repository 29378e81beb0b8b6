#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 120
# A real ext4 image through unmodified fuse2fs: what is read is what the kernel and debugfs read, what is written is there
# afterwards, and the file system is clean.
. "$TOP/tests/lib/lib.sh"
fill_tree "$T/tree" 300
make_ext4_image "$T/image" 128M "$T/tree"
mkdir "$T/mnt" "$T/native"

say "the kernel's own view"
native_mount -o loop,ro "$T/image" "$T/native"
checksums "$T/native" >"$T/sums.native"
listing "$T/native" >"$T/listing.native"
umount "$T/native"
[ "$(wc -l <"$T/sums.native")" -ge 300 ] || fail "too few files in the image"

start_fused
id=$(fusectl mount ext4 "$T/image" "$T/mnt")
[[ $id =~ ^[0-9]+$ ]] || fail "the mount's id is '$id'"
assert_equal "$(field "$id" state)" live state
assert_equal "$(field "$T/mnt" id)" "$id" "found by mount point"
checksums "$T/mnt" | diff "$T/sums.native" - || fail "checksums differ from the native mount"
listing "$T/mnt" | diff "$T/listing.native" - || fail "the listing differs from the native mount"
path=$(cd "$T/tree" && find dir0 -type f -name '*plain' | sort | tail -n 1)
[ -n "$path" ] || fail "no plain file"
debugfs -R "cat \"/$path\"" "$T/image" 2>/dev/null | cmp - "$T/mnt/$path" || fail "debugfs reads something else"

say "written and read back"
cp -r "$T/tree" "$T/mnt/again"
assert_files_same "$T/tree/dir3" "$T/mnt/again/dir3"
rm -r "$T/mnt/dir5"
mv "$T/mnt/dir6" "$T/mnt/moved"
ln -s moved "$T/mnt/link"
printf 'appended' >>"$T/mnt/$path"
truncate -s 1M "$T/mnt/again/sparse"
sync
checksums "$T/mnt" >"$T/sums.written"
fusectl umount "$id"
not_mounted "$T/mnt" || fail "it is still mounted"
fsck_clean "$T/image"

say "the kernel reads what was written"
native_mount -o loop,ro "$T/image" "$T/native"
checksums "$T/native" | diff "$T/sums.written" - || fail "the kernel reads something else"
umount "$T/native"

say "read-only"
sum=$(sha256sum <"$T/image")
fusectl mount ext4 "$T/image" "$T/mnt" -o ro >/dev/null
! touch "$T/mnt/new" 2>/dev/null || fail "it can be written"
checksums "$T/mnt" | diff "$T/sums.written" - || fail "read-only reads something else"
fusectl umount "$T/mnt"
assert_equal "$(sha256sum <"$T/image")" "$sum" "the image after a read-only mount"
