#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# Striped volumes: what a removed file has left on the devices is never read again, whatever fails or ends too early.
. "$TOP/tests/lib/lib.sh"
stripe() { "$STAGE/bin/fused-stripe" "$@"; }
mkdir "$T/mnt"
loops=()
for i in 0 1; do truncate -s 16M "$T/m$i"; attach_loop "$T/m$i"; loops+=("$LOOP"); done
mount_it() { fusectl mount stripe "${loops[0]}" "$T/mnt" -o "slot.device1=${loops[1]}"; }
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
start_fused

full_of_s() { # a volume whose devices hold S, and no file
        stripe create --chunk "$1" "${loops[@]}"
        mount_it >/dev/null
        head -c "$(stat -f -c '%a * %S' "$T/mnt" | xargs expr)" /dev/zero | tr '\0' S >"$T/mnt/old"
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

say "files that are cut or removed while the table cannot be stored"
for how in unlink truncate; do
        full_of_s 1M
        head -c "$(stat -f -c '%a * %S' "$T/mnt" | xargs expr)" /dev/zero | tr '\0' O >"$T/mnt/old"
        sync "$T/mnt/old"
        fusectl umount "$T/mnt"
        mount_it >/dev/null
        size=$(stat -c %s "$T/mnt/old")
        blockdev --setro "${loops[0]}"
        if [ $how = unlink ]; then rm "$T/mnt/old" 2>/dev/null; else truncate -s 1M "$T/mnt/old" 2>/dev/null; fi && fail "$how, and nobody knows"
        python3 - "$T/mnt/new" <<'PY' || fail "rows were given to another file ($how)"
import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
data = mmap.mmap(-1, 1 << 20)
data.write(b"N" * len(data))
for i in (0, 1, 2):
    try:
        os.pwrite(fd, data, i << 20)
        sys.exit(1)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
PY
        kill -KILL "$(fusectl --json status "$T/mnt" | json "d['server-pid']")"
        wait_for "the end of the mount" 10 gone
        blockdev --setrw "${loops[0]}"
        mount_it >/dev/null
        assert_equal "$(stat -c %s "$T/mnt/old") $(tr -d O <"$T/mnt/old" | head -c 1)" "$size " "after $how has failed"
        if [ $how = unlink ]; then rm "$T/mnt/old"; else truncate -s 1M "$T/mnt/old"; fi
        head -c 3M /dev/zero >"$T/mnt/new"
        fusectl umount "$T/mnt"
done

say "what was never written: skipped, or made longer; more such places than a volume knows of"
full_of_s 64K
python3 - "$T/mnt" <<'PY' || fail "what was not written is no zeroes"
import os, sys
os.chdir(sys.argv[1])
fd = os.open("sparse", os.O_CREAT | os.O_RDWR)
os.pwrite(fd, b"x", 3000000)
os.ftruncate(fd, 6000000)
assert os.pread(fd, 6000000, 0) == bytes(3000000) + b"x" + bytes(2999999)
assert [os.lseek(fd, at, how) for at, how in ((0, os.SEEK_DATA), (3000000, os.SEEK_HOLE))] == [3000000 // 4096 * 4096, 3000000 // 4096 * 4096 + 4096]
fd = os.open("every-other", os.O_CREAT | os.O_RDWR)
for k in range(2300):
    os.pwrite(fd, b"A" * 4096, (2 * k + 1) * 4096)
    if k % 500 == 0:
        os.fsync(fd)
PY
every_other() { python3 - "$T/mnt/every-other" <<'PY' || fail "$1: other bytes in places"
import sys
data = open(sys.argv[1], "rb").read()
sys.exit(data != (bytes(4096) + b"A" * 4096) * 2300)
PY
}
every_other "at once"
fusectl umount "$T/mnt"
[ "$(stripe list --json "${loops[@]}" | json "sum(f['gaps'] for f in d['files'])")" -gt 2000 ] || fail "fewer gaps than there can be"
mount_it >/dev/null
every_other "after a mount"
no_s sparse "after a mount"
fusectl umount "$T/mnt"

say "servers that are killed while files grow"
full_of_s 64K
for _ in 1 2 3 4 5 6; do
        python3 - "$T/mnt" "$(fusectl --json status "$T/mnt" | json "d['server-pid']")" <<'PY'
import mmap, os, random, signal, sys, threading, time
os.chdir(sys.argv[1])

def grow(letter):
    try:
        fd = os.open(letter, os.O_CREAT | os.O_WRONLY | (os.O_DIRECT if letter in "AB" else 0))
        data = mmap.mmap(-1, 1 << 18)
        data.write(letter.encode() * len(data))
        while True:
            os.pwrite(fd, data, random.randrange(1000) * 4096)
            if random.random() < 0.1:
                os.fsync(fd)
    except OSError:
        pass

threads = [threading.Thread(target=grow, args=(letter,)) for letter in "ABCD"]
for thread in threads:
    thread.start()
time.sleep(random.uniform(0.05, 0.4))
os.kill(int(sys.argv[2]), signal.SIGKILL)
for thread in threads:
    thread.join()
PY
        wait_for "the end of the mount" 10 gone
        stripe list "${loops[@]}" >/dev/null # one copy may have been written in part
        mount_it >/dev/null
        for f in "$T"/mnt/*; do
                [ -z "$(tr -d "$(basename "$f")\\0" <"$f" | head -c 1)" ] || fail "$(basename "$f") has bytes that were not written to it"
        done
done
fusectl umount "$T/mnt"
for l in "${loops[@]}"; do detach_loop "$l"; done
