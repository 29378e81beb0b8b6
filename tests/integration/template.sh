#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What an author outside the tree begins with: built from what is installed and nothing else, listed, mounted.
. "$TOP/tests/lib/lib.sh"
command -v clang >/dev/null || fail "there is no clang"
PKG_CONFIG_PATH=$(dirname "$(find "$STAGE" -name fused-server.pc)")
export PKG_CONFIG_PATH
cp -r "$STAGE/share/doc/fused/program-template" "$T/template"
mkdir "$T/mnt"
truncate -s 8M "$T/first" "$T/second"
dd if=/dev/urandom of="$T/first" bs=1M count=8 conv=notrunc status=none
dd if=/dev/urandom of="$T/second" bs=1M count=6 conv=notrunc status=none
truncate -s 6M "$T/second"
same() { cat "$T/first" "$T/second" | cmp - "$T/mnt/data"; }
answered_by() { fusectl --json status "$T/mnt" | json "d['mapping']['answered-by-$1']"; }

say "by make, from the installed headers and library"
library=$(dirname "$(find "$STAGE" -name libfused-server.so)")
built() { # TARGET
        env -i PATH="$PATH" PKG_CONFIG_PATH="$PKG_CONFIG_PATH" make -C "$T/template" "$1" LDFLAGS="-Wl,-rpath,$library" LIBEXECDIR="$T/programs" \
                OBJECTDIR="$T/objects" POLICYDIR="$T/policy" >"$T/make.log" 2>&1 || { cat "$T/make.log"; fail "make $1"; }
        ! grep -i warning "$T/make.log" || fail "make $1 warns"
}
built install
cd "$T"
for name in linear stripe extents; do # what the manual sends authors to
        printf '#include <stdint.h>\n#define FUSED_PROGRAM_DEVICES_MAX 8\n#include "%s/%s.h"\nint main(void) { return 0; }\n' $name $name >"$name.c"
        gcc -Wall -Werror -I"$(pkg-config --variable=bpfincludedir fused-server)" -c "$name.c" -o "$name.o" || fail "$name/$name.h"
done
[[ $(pkg-config --print-provides fused-server) == "fused-server ="* ]]
grep -q '^Description:.*map' "$PKG_CONFIG_PATH/fused-server.pc" || fail "its description says nothing of mapping"

say "it passes the checks, is listed, and answers"
"$STAGE/bin/fusectl" program verify --device 8M --device 6M "$T/objects/halves.bpf.o" | grep -qx accepted || fail "it is refused"
start_fused
fusectl program list | grep -q '^halves ' || fail "$(fusectl program list)"
fusectl mount halves "$T/first" "$T/mnt" -o "slot.second=$T/second"
assert_equal "$(ls "$T/mnt")" data
assert_equal "$(stat -c %s "$T/mnt/data")" $((14 << 20))
same || fail "it is not both, one after the other"
assert_equal "$(fusectl --json status "$T/mnt" | json "d['program']")" halves
[ "$(answered_by program)" -gt 0 ] || fail "the program was not asked: $(fusectl status "$T/mnt")"
assert_equal "$(answered_by server)" 0 "lookups by the server"
dd if=/dev/urandom of="$T/mnt/data" bs=1M count=3 seek=7 conv=notrunc,fsync status=none
same || fail "what was written is not where it is read"
[ "$(dd if="$T/mnt/data" bs=64K count=1 seek=0 skip=111 iflag=fullblock status=none | sha256sum)" = \
        "$(dd if="$T/first" bs=64K count=1 skip=111 status=none | sha256sum)" ] || fail "a part of it"
! truncate -s 20M "$T/mnt/data" 2>/dev/null || fail "it has grown"
! dd if=/dev/zero of="$T/mnt/data" bs=4K count=1 seek=3584 conv=notrunc,fsync status=none 2>/dev/null || fail "it is written to past its end"
fusectl umount "$T/mnt"

say "read-only, and without the program"
fusectl mount halves "$T/first" "$T/mnt" -o "ro,slot.second=$T/second"
same || fail "read-only it is another"
! : 2>/dev/null >>"$T/mnt/data" || fail "it is written to"
fusectl umount "$T/mnt"
sed -i '/^Programs=/d' "$T/policy/types/halves.conf"
kill -HUP "$FUSED_PID"
unlisted() { ! fusectl --json program list | json "[p['types'] for p in d if p['name'] == 'halves'][0]" | grep -q halves; }
wait_for "the new policy" 15 unlisted
fusectl mount halves "$T/first" "$T/mnt" -o "slot.second=$T/second"
same || fail "without the program it is another"
fusectl status "$T/mnt" | grep -q 'fused-halves: no mapping program' || fail "$(fusectl status "$T/mnt")"
[ "$(answered_by server)" -gt 0 ] || fail "the server was not asked"
fusectl umount "$T/mnt"

say "a second slot that is missing is the server's to ask for, and refused"
! fusectl mount halves "$T/first" "$T/mnt" 2>"$T/err" || fail "it is mounted with one half"
grep -q second "$T/err" || fail "$(cat "$T/err")"
! "$T/programs/fused-halves" 2>"$T/err" || fail "it runs by itself"
grep -q 'started by fused' "$T/err" || fail "$(cat "$T/err")"
