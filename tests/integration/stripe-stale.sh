#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Striped volumes: what a removed file has left on the devices is never read again, whatever fails or ends too early.
. "$TOP/tests/lib/lib.sh"
stripe() { "$STAGE/bin/fused-stripe" "$@"; }
mkdir "$T/mnt"
loops=()
for i in 0 1; do truncate -s 16M "$T/m$i"; attach_loop "$T/m$i"; loops+=("$LOOP"); done
mount_it() { fusectl mount stripe "${loops[0]}" "$T/mnt" -o "slot.device1=${loops[1]}"; }
start_fused

full_of_s() { # a volume whose devices hold S, and no file
        stripe create --chunk "$1" "${loops[@]}"
        mount_it >/dev/null
        head -c "$(stat -f -c '%a * %S' "$T/mnt" | xargs expr)" /dev/zero | tr '\0' S >"$T/mnt/old"
        sync "$T/mnt/old"
        fusectl umount "$T/mnt"
        mount_it >/dev/null
        rm "$T/mnt/old"
}
no_s() { ! grep -q S "$T/mnt/$1" || fail "$2: it reads what a removed file has left"; }

say "writes that fail, on a device that takes none for a while"
for chunk in 1M 64K; do
        for how in direct buffered; do
                full_of_s $chunk
                blockdev --setro "${loops[1]}"
                python3 - "$T/mnt/new" $how "${loops[1]}" <<'PY' || fail "writing ($how)"
import mmap, os, subprocess, sys
path, how, loop = sys.argv[1:]
fd = os.open(path, os.O_CREAT | os.O_WRONLY | (os.O_DIRECT if how == "direct" else 0))
data = mmap.mmap(-1, 1 << 20)
data.write(b"A" * len(data))
failed = 0

def trying(what):
    global failed
    try:
        what()
    except OSError:
        failed += 1

for i in (0, 1, 2, 3):
    trying(lambda: os.pwrite(fd, data, i << 20))
trying(lambda: os.fsync(fd))
subprocess.run(["blockdev", "--setrw", loop], check=True)
os.pwrite(fd, data, 4 << 20)
os.fsync(fd)
sys.exit(failed == 0)
PY
                echo 3 >/proc/sys/vm/drop_caches
                no_s new "$how, $chunk, at once"
                assert_equal "$(stat -c %s "$T/mnt/new")" $((5 << 20)) "size"
                cmp -s <(tail -c 1M "$T/mnt/new") <(head -c 1M /dev/zero | tr '\0' A) || fail "what was written at last is lost ($how, $chunk)"
                fusectl umount "$T/mnt"
                mount_it >/dev/null
                no_s new "$how, $chunk, after a mount"
                assert_equal "$(stat -c %s "$T/mnt/new")" $((5 << 20)) "size after a mount"
                cmp -s <(tail -c 1M "$T/mnt/new") <(head -c 1M /dev/zero | tr '\0' A) || fail "what was written at last is lost ($how, $chunk, after a mount)"
                fusectl umount "$T/mnt"
        done
done
for l in "${loops[@]}"; do detach_loop "$l"; done
