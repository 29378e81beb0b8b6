#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A file whose last block holds something behind its end, which nobody may see when the file becomes longer, in whichever way.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt" "$T/tree"
head -c 100 /dev/zero | tr '\0' A >"$T/tree/file"
make_ext4_image "$T/image" 64M "$T/tree"
block=$(debugfs -R "blocks /file" "$T/image" 2>/dev/null | tr -d ' ')
head -c 3996 /dev/zero | tr '\0' G | dd of="$T/image" bs=1 seek=$((block * 4096 + 100)) conv=notrunc status=none
start_fused

file=$T/mnt/file
zeroes=(dd if=/dev/zero of="$file" bs=4096 count=1 seek=1 conv=notrunc status=none)
longer() { # SIZE COMMAND...
        cp "$T/image" "$T/copy"
        fusectl mount ext4-map "$T/copy" "$T/mnt" >/dev/null
        "${@:2}"
        assert_equal "$(stat -c %s "$file")" "$1" "size after ${*:2}"
        assert_equal "$(tr -dc A <"$file" | wc -c)" 100 "bytes that were there before ${*:2}"
        assert_equal "$(tr -dc G <"$file" | wc -c)" 0 "bytes that are nobody's after ${*:2}"
        fusectl umount "$T/mnt"
        fsck_clean "$T/copy"
}
longer 8192 truncate -s 8192 "$file"
longer 8192 fallocate -l 8192 "$file"
longer 110 fallocate -l 110 "$file"
longer 8192 fallocate -z -o 4096 -l 4096 "$file"
longer 4296 fallocate -z -o 200 -l 4096 "$file"
longer 12288 fallocate -o 8192 -l 4096 "$file"
longer 8192 "${zeroes[@]}"
longer 8192 "${zeroes[@]}" oflag=direct
longer 100 fallocate -n -l 8192 "$file"
