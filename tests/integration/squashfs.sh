#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# SquashFS through unmodified squashfuse_ll, compared with unsquashfs.
. "$TOP/tests/lib/lib.sh"
fill_tree "$T/tree" 300
mksquashfs "$T/tree" "$T/image" -quiet -no-progress -all-root >/dev/null
unsquashfs -quiet -no-progress -dest "$T/unpacked" "$T/image" >/dev/null
mkdir "$T/mnt"
start_fused
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
checksums "$T/mnt" | diff <(checksums "$T/unpacked") - || fail "checksums differ from unsquashfs"
# squashfs has whole seconds; links have no mode of their own
diff <(listing "$T/unpacked" | sed 's/\.[0-9]*$//') <(listing "$T/mnt" | sed 's/\.[0-9]*$//') || fail "listings differ"
! touch "$T/mnt/new" 2>/dev/null || fail "it can be written"
[[ ,$(field "$id" options), == *,ro,* ]] || fail "the options do not say ro: $(field "$id" options)"
fusectl umount "$T/mnt"

say "from a loop device"
attach_loop "$T/image" --read-only
fusectl mount squashfs "$LOOP" "$T/mnt" >/dev/null
checksums "$T/mnt" | diff <(checksums "$T/unpacked") - || fail "checksums differ on the loop device"
fusectl umount "$T/mnt"

say "an option that the type passes on: the image behind 4 KiB of something else"
{ head -c 4096 /dev/zero; cat "$T/image"; } >"$T/shifted"
expect_fusectl 1 mount squashfs "$T/shifted" "$T/mnt"
fusectl mount squashfs "$T/shifted" "$T/mnt" -o offset=4096 >/dev/null
checksums "$T/mnt" | diff <(checksums "$T/unpacked") - || fail "checksums differ with offset="
fusectl umount "$T/mnt"
