#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 60
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
echo 8M >"$group/$limit"
head -c 64M /dev/urandom >"$T/large"
sync "$T/large"
dd of="$T/large" oflag=nocache conv=notrunc,fdatasync count=0 status=none # else its pages are charged to us

follow() { # FILE SECONDS [wade]: what the watch says
        "$watch" "$unified" "$2" >"$1" &
        local pid=$! wader=
        if [ "${3-}" ]; then
                bash -c 'echo $$ >"$1/cgroup.procs"; exec timeout 12 /usr/bin/python3 -c "
import mmap, os, random, sys, time
m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 64 << 20, prot=mmap.PROT_READ)
m.madvise(mmap.MADV_RANDOM)
end = time.time() + 10
while time.time() < end and os.path.exists(\"/proc/\" + sys.argv[2]):
    for i in range(1000):
        m[random.randrange(16384) * 4096]
" "$2" "$3"' - "$group" "$T/large" "$pid" &
                wader=$!
        fi
        wait "$pid" $wader
        tail -n 1 "$1"
}

say "nobody waits for memory, and nothing is told"
quiet=$(follow "$T/quiet" 3)
[ "$quiet" != none ] || skip "this kernel has no trigger for memory pressure"
say "somebody does, and it is told"
told=$(follow "$T/told" 12 wade)
[ "$quiet/$told" = quiet/told ] || fail "without pressure: $quiet, with it: $told"
