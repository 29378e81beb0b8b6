#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The servers that map, as units: the same bytes, programs loaded for them, and descriptors that tell of memory pressure.
. "$TOP/tests/rigs/lib.sh"
PATH=$STAGE/bin:$STAGE/sbin:$PATH
restore
mkdir "$T/tree" "$T/mnt1" "$T/mnt2" "$T/mnt3"
head -c 3000000 /dev/urandom >"$T/tree/data"

say "pack, with a program"
truncate -s 16M "$T/pack"
fused-pack "$T/tree" "$T/pack" >/dev/null
first=$(fusectl mount pack "$T/pack" "$T/mnt1")
cmp "$T/tree/data" "$T/mnt1/data"
assert_equal "$(field "$first" program)" learned "program"
mapping() { fusectl --json status "$1" | json "d['mapping']['$2']"; }

say "stripe, with a program; written through the unit"
truncate -s 16M "$T/a" "$T/b"
fused-stripe create --chunk 64K "$T/a" "$T/b" >/dev/null
second=$(fusectl mount stripe "$T/a" "$T/mnt2" -o "slot.device1=$T/b")
cp "$T/tree/data" "$T/mnt2/data"
sync "$T/mnt2/data"
fusectl umount "$second"
second=$(fusectl mount stripe "$T/a" "$T/mnt2" -o "slot.device1=$T/b")
cmp "$T/tree/data" "$T/mnt2/data"
assert_equal "$(field "$second" program)" stripe "program"

say "ext4-map"
make_ext4 "$T/ext4"
third=$(fusectl mount ext4-map "$T/ext4" "$T/mnt3")
cp "$T/tree/data" "$T/mnt3/data"
sync "$T/mnt3/data"
dd if="$T/mnt3/data" iflag=direct bs=4096 status=none | cmp - "$T/tree/data"

say "each: unprivileged, user engine, hears of the machine's memory pressure and its cgroup's"
for id in "$first" "$second" "$third"; do
        pid=$(main_pid "$(units_of "$(field "$id" type)")")
        grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' "/proc/$pid/status" | grep -qv '0000000000000000$' && fail "capabilities of $id"
        assert_equal "$(field "$id" engine)" user "engine of $id"
        wait_for "what pressure-watched of $id says" 5 eval "[ \$((\$(mapping $id pressure-watched) & 3)) -eq 3 ]"
        fusectl umount "$id"
done
e2fsck -fn "$T/ext4" >"$T/fsck" 2>&1 || fail "$(cat "$T/fsck")"
