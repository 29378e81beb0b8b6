#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is called a hole: nothing that was written, however it was.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 64M
mkdir "$T/mnt"
start_fused
for options in "" no_writeback; do
        say "written by mmap, options: ${options:-none}"
        fusectl mount ext4-map "$T/image" "$T/mnt" ${options:+-o $options} >/dev/null
        told=$(python3 - "$T/mnt/file$options" <<'PY'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
memory = mmap.mmap(fd, 1 << 20)
memory[512 << 10] = 65
print(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 512 << 10, os.SEEK_HOLE))
PY
)
        assert_equal "$told" "524288 528384" "where the data is, and where it ends"
        fusectl umount "$T/mnt"
done
fsck_clean "$T/image"
