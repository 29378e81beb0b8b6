#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# Mapping programs with every mistake that vetting knows: each is refused under the rule that it breaks, and its neighbour is not.
. "$TOP/tests/lib/lib.sh"
command -v clang >/dev/null || fail "there is no clang"
vet() { "$STAGE/libexec/fused/fused-program" verify --device 64M --device 64M "$@" >"$T/report" 2>&1; }
build() { # CASE
        clang -target bpf -O2 -g -mcpu=v3 -Wno-unused -DCASE="$1" -I"$TOP/bpf" -I"$TOP/server" -I/usr/include/"$(gcc -print-multiarch)" \
                -c "$TOP/tests/bad-programs/bad.bpf.c" -o "$T/$1.bpf.o" || fail "$1 does not compile"
}
ids() { python3 "$TOP/tests/lib/bpf-programs.py" | grep -c '^bad_' || true; }
refused() { # FILE RULE WORDS
        ! vet "$1" || fail "$(basename "$1") was accepted"
        grep -Eq "^  FAIL  $2 .*$3" "$T/report" || { cat "$T/report"; fail "$(basename "$1") was not refused for $2: $3"; }
        [ "$(grep -c '^  FAIL' "$T/report")" = 1 ] || fail "more than one rule"
        [ "$(tail -n 1 "$T/report")" = refused ] || fail "no verdict"
        grep '^  FAIL' "$T/report"
}

say "the neighbour that is right"
build GOOD
vet "$T/GOOD.bpf.o" || { cat "$T/report"; fail "a good program was refused"; }

while read -r name words; do
        build "$name"
        vet "$T/$name.bpf.o" || { cat "$T/report"; fail "it $words, and was refused"; }
done <<'CASES'
OPS_LAST writes the last bytes that it is given
SHARED has two ranges of the file in one place, and leaves changes to the server
CONSTANTS has a table of constants
CASES

say "each with one mistake"
while read -r name rule words; do
        build "$name"
        refused "$T/$name.bpf.o" "$rule" "$words"
done <<'CASES'
HELPER helpers helper 113
SYSTEM helpers helper 168
CLOCK helpers helper 5
LOOP helpers helper 181
TIRED instructions .
PACKET instructions .
ADDRESS instructions asks for an address of kind 3
NUMBER instructions asks for an address of kind 1
MEMBERS sections names members of the kernel's structs
CALL helpers calls function 1000 of the kernel
TAIL helpers helper 12
CONFIG helpers CONFIG_HZ
VARIABLE (sections|maps) .
LEAK verifier leaks addr
RETURN_LEAK verifier leaks addr
ATOMIC verifier ctx
GLOBALS verifier too complex
STATE tables for the server alone to write to
FOLLOWED size follow
SLOW time ns of the processor
TABLES maps 9 tables, 8 are allowed; constants
PINNED maps pinned
EXTRA maps flags
NUMA maps flags
ENDLESS verifier .
LARGE size instructions
HASH maps table table is no array
HIDDEN maps table table
FOREIGN sections xdp
NOTHING sample there is none
NO_SAMPLE sample no sample
DEVICE conformance device that the mount does not have
EMPTY conformance length
UNALIGNED conformance .
PAST conformance past the end of the device
OUTSIDE conformance .
OVERLAP conformance .
STRANGER conformance not in its tables
HOLE_FOR_WRITE conformance hole
RETRY conformance type
HALF conformance write half
FLAGS conformance .
GAP conformance no answer
WRITELIE conformance another place than for reading
ZEROLIE conformance another place than for reading
WRITEHALF conformance writes elsewhere than it reads
ALIAS conformance another position's, too
LONG conformance not where the walk found it
NODE conformance within a sector
NEW conformance flags
OPS_PAST struct_ops writes at 61 of 64 bytes
OPS_BEFORE struct_ops writes at -4 of 64 bytes
OPS_HELPER helpers helper 113
OPS_INNER helpers helper 113
OPS_TEXT struct_ops writes at 4096 of 64 bytes
OPS_KFUNC helpers calls function 1000 of the kernel
OPS_TYPE struct_ops other_ops_b1 is no struct fuse_iomap_bpf_ops
OPS_TWICE struct_ops bad_ops_b1 and other_ops_b1
OPS_SLEEPS sections struct_ops.s
OPS_FUNCTION helpers fuse_bpf_iomap_inval_mappings
LAST_BYTE conformance not where the walk found it
ONE_IN_THOUSAND conformance not where the walk found it
CASES

say "what no trying finds: a lie about one byte in the middle of a piece"
build ONE_PLACE
vet "$T/ONE_PLACE.bpf.o" --seed 1 || { cat "$T/report"; fail "it was found: say so in the manual"; }

say "licences: those that the kernel takes, and no others"
licence() { # TEXT
        python3 - "$1" "$T/$2.bpf.o" "$T/licence.bpf.o" <<'PYTHON'
import sys
data = open(sys.argv[2], "rb").read()
old, new = b"Dual BSD/GPL\0", sys.argv[1].encode()
assert data.count(old) == 1 and len(new) < len(old)
open(sys.argv[3], "wb").write(data.replace(old, new.ljust(len(old), b"\0")))
PYTHON
}
build LICENCE
vet "$T/LICENCE.bpf.o" || { cat "$T/report"; fail "Dual BSD/GPL was refused"; }
for good in GPL "GPL v2" "Dual MIT/GPL"; do
        licence "$good" LICENCE
        vet "$T/licence.bpf.o" || { cat "$T/report"; fail "$good was refused"; }
done
for bad in BSD GPLX "GPL v3" "" gpl; do
        licence "$bad" LICENCE
        refused "$T/licence.bpf.o" licence GPL
done

say "no program, and half a one"
: >"$T/empty.bpf.o"
! vet "$T/empty.bpf.o" || fail "nothing was accepted"
head -c 3000 "$T/GOOD.bpf.o" >"$T/half.bpf.o"
! vet "$T/half.bpf.o" || fail "half a program was accepted"
head -c 2000000 /dev/zero >"$T/zeroes.bpf.o"
! vet "$T/zeroes.bpf.o" || fail "zeroes were accepted"

say "the same questions again, by the number in the report"

vet "$T/GOOD.bpf.o"
seed=$(sed -n 's/.*(--seed \([0-9]*\))/\1/p' "$T/report")
build ONE_IN_THOUSAND
! vet "$T/ONE_IN_THOUSAND.bpf.o" --seed "$seed" || fail "a liar was accepted"
first=$(grep FAIL "$T/report")
! vet "$T/ONE_IN_THOUSAND.bpf.o" --seed "$seed" || fail "a liar was accepted"
assert_equal "$(grep FAIL "$T/report")" "$first" "the same seed"
! vet "$T/ONE_IN_THOUSAND.bpf.o" --seed $((seed ^ 1)) || fail "a liar was accepted"
[ "$(grep FAIL "$T/report")" != "$first" ] || fail "the seed changes nothing"
vet "$T/GOOD.bpf.o"
[ "$(sed -n 's/.*(--seed \([0-9]*\))/\1/p' "$T/report")" != "$seed" ] || fail "it is always the same seed"

say "nothing stays loaded"
[ "$(ids)" = 0 ] || fail "$(ids) programs are left"
