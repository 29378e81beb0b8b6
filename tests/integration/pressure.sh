#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# Memory pressure as the kernel tells it: a process that wades through more than its cgroup may hold, and a watch like a mapping server's.
. "$TOP/tests/lib/lib.sh"
watch=$BUILD/tests/integration/pressure-watch
unified=/sys/fs/cgroup
[ -d /sys/fs/cgroup/unified ] && unified=/sys/fs/cgroup/unified
group=/sys/fs/cgroup/memory/fused-pressure-$$ limit=memory.limit_in_bytes
[ -d /sys/fs/cgroup/memory ] || { group=/sys/fs/cgroup/fused-pressure-$$; limit=memory.max; }
mkdir "$group"
at_end rmdir "$group"
[ -e "$group/$limit" ] || skip "no memory controller is to be had here"
echo 16M >"$group/$limit"
head -c 96M /dev/urandom >"$T/large"
sync "$T/large"
dd of="$T/large" oflag=nocache conv=notrunc,fdatasync count=0 status=none # else its pages are charged to us

wade() { # PID: until it ends, but 40 s at most, more is read than the cgroup may hold, by two at once
        bash -c 'echo $$ >"$1/cgroup.procs"; exec timeout 45 /usr/bin/python3 -c "
import mmap, os, random, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what is in memory already may be charged to others
os.close(fd)
child = os.fork()
m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 96 << 20, prot=mmap.PROT_READ)
m.madvise(mmap.MADV_RANDOM)
end = time.time() + 40
while time.time() < end and os.path.exists(\"/proc/\" + sys.argv[2]):
    for i in range(1000):
        m[random.randrange(24576) * 4096]
if child:
    os.waitpid(child, 0)
" "$2" "$3"' - "$group" "$T/large" "$1" 9<&-
}

follow() { # FILE SECONDS [wade]: what the watch says
        "$watch" "$unified" "$2" >"$1" &
        local pid=$! wader=
        if [ "${3-}" ]; then
                wade "$pid" &
                wader=$!
        fi
        wait "$pid" $wader
        tail -n 1 "$1"
}

say "nobody waits for memory, and nothing is told"
quiet=$(follow "$T/quiet" 3)
[ "$quiet" != none ] || skip "this kernel has no trigger for memory pressure"
say "somebody does, and it is told"
told=$(follow "$T/told" 40 wade) # as long as it takes; on a quick disk the machine is short of memory only now and then
[ "$quiet/$told" = quiet/told ] || fail "without pressure: $quiet, with it: $told"

say "a server in its sandbox listens as well: fused has given it what to listen to"
make_ext4_image "$T/image" 64M
mkdir "$T/mnt"
start_fused
attach_loop "$T/image"
fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
python3 - "$T/mnt/file" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for i in range(2000):
    os.pwrite(fd, b"x" * 4096, i * 8192)
os.fsync(fd)
PY
number() { fusectl --json status "$T/mnt" | python3 -c 'import json, sys; print(json.load(sys.stdin)["mapping"][sys.argv[1]])' "$1"; }
# 1: the machine, 2: the server's cgroup, 4 and 8: what that uses and may use, with a memory controller
[ $(($(number pressure-watched) & 3)) -eq 3 ] || fail "it listens to $(number pressure-watched) only"
fusectl status "$T/mnt" | grep -q 'shrunk 0 times for want of memory (of the machine and its cgroup)' || fail "$(fusectl status "$T/mnt")"
close_it() { exec 9<&-; }
at_end close_it
exec 9<"$T/mnt/file" # the cache is of files that are open
dd if="$T/mnt/file" of=/dev/null bs=1M iflag=direct status=none
waited() { sed -n 's/^some.*total=//p' /proc/pressure/memory; }
for _ in 1 2 3 4 5; do # three seconds in which nobody on the whole machine waits
        since=$(waited) shrunk=$(number cache-shrunk)
        sleep 3
        [ $(($(waited) - since)) -gt 50000 ] || break
done
[ "$(number cache-shrunk)" = "$shrunk" ] || fail "it shrank although nobody waited for memory"
dd if="$T/mnt/file" of=/dev/null bs=1M iflag=direct status=none
sleep 1.2 # the numbers are shown once a second
full=$(number cache-mappings) shrunk=$(number cache-shrunk)
[ "$full" -gt 3000 ] || fail "the cache has only $full mappings of 4000"
sleep 40 &
pid=$!
wade $pid &
wader=$!
has_shrunk() { [ "$(number cache-shrunk)" -gt "$shrunk" ]; }
wait_for "the cache to shrink" 35 has_shrunk
sleep 1.2
less=$(number cache-mappings)
kill $pid
close_it
wait $pid $wader || true
[ "$less" -lt "$full" ] || fail "$full mappings before, $less now"
[ "$(md5sum <"$T/mnt/file")" = "$(python3 -c 'import sys; sys.stdout.buffer.write((b"x" * 4096 + bytes(4096)) * 1999 + b"x" * 4096)' | md5sum)" ] ||
        fail "the file reads differently"
fusectl umount "$T/mnt"
detach_loop "$LOOP"
