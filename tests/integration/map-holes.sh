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
say "before what is not written back, with a thread for that and without"
generation=1
for clones in 3 0; do
        mkdir -p "$T/policy/types/ext4-map.conf.d"
        printf '[Type]\nDeviceClones=%s\n' $clones >"$T/policy/types/ext4-map.conf.d/clones.conf"
        kill -HUP "$FUSED_PID"
        assert_log "policy generation $((++generation)) is in force"
        id=$(fusectl mount ext4-map "$T/image" "$T/mnt")
        told=$(python3 - "$T/mnt/direct$clones" <<'PY'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
direct = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
os.pwrite(fd, b"Z" * 4096, 1 << 20)
memory = mmap.mmap(-1, 4096)
print(os.preadv(direct, [memory], 0), os.preadv(direct, [memory], 512 << 10), os.preadv(direct, [memory], 1 << 20), memory[0])
PY
)
        assert_equal "$(fusectl --json status "$id" | json "d['mapping']['threads']")" $((clones + 1)) "threads"
        assert_equal "$told" "4096 4096 4096 90" "what was read, $clones clones"
        fusectl umount "$T/mnt"
done
fsck_clean "$T/image"
