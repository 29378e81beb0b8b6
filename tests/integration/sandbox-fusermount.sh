#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Hand-over fusermount: a server in the sandbox that runs fusermount3 gets the device of its mount, in one phase and in two; it can
# run nothing else, and one with hand-over fd cannot run even that.
. "$TOP/tests/lib/lib.sh"
use_program runs-fusermount
type_of() { # NAME HAND-OVER WORD
        mkdir -p "$T/policy/types"
        cat >"$T/policy/types/$1.conf" <<-C
	[Type]
	Program=$T/programs/runs-fusermount
	Arguments=$3 %m
	HandOver=$2
	[Deadlines]
	Start=3s
	Init=3s
	Stop=3s
	[Allow everybody]
	Users=*
	Sources=none
	C
        sed -i 's/^\t//' "$T/policy/types/$1.conf"
}
type_of classic fusermount classic
type_of two fusermount sync
type_of other fusermount other
type_of plain fd classic
install -d -o $ALICE "$T/mnt"
start_fused
for type in classic two; do
        id=$(fusectl_as $ALICE mount $type none "$T/mnt")
        assert_equal "$(as_user $ALICE find "$T/mnt" -mindepth 1 | wc -l)" 0 "what is in the empty directory"
        pid=$(field "$id" server-pid)
        for p in $pid $(descendants "$pid"); do
                [ -z "$(grep Cap "/proc/$p/status" | grep -v 0000000000000000)" ] || fail "process $p has capabilities"
        done
        fusectl_as $ALICE umount "$id"
done
say "nothing else can be run, and not even that with hand-over fd"
expect_fusectl_as 1 $ALICE mount other none "$T/mnt"
out_has 'status 9|No such file|Permission denied'
expect_fusectl_as 1 $ALICE mount plain none "$T/mnt"
assert_nothing_held
