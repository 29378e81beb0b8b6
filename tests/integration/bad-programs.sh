#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# Mapping programs with every mistake that vetting knows: each is refused under the rule that it breaks, and its neighbour is not.
. "$TOP/tests/lib/lib.sh"
command -v clang >/dev/null || fail "there is no clang"
vet() { "$STAGE/libexec/fused/fused-program" verify --device 64M --device 64M "$1" >"$T/report" 2>&1; }
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

build OPS_LAST
vet "$T/OPS_LAST.bpf.o" || { cat "$T/report"; fail "it writes the last bytes that it is given, and was refused"; }

say "each with one mistake"
while read -r name rule words; do
        build "$name"
        refused "$T/$name.bpf.o" "$rule" "$words"
done <<'CASES'
HELPER helpers helper 113
SYSTEM helpers helper 168
CLOCK helpers helper 5
LOOP helpers helper 181
TIRED (helpers|verifier) .
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
OPS_PAST struct_ops writes at 61 of 64 bytes
OPS_BEFORE struct_ops writes at -4 of 64 bytes
OPS_HELPER helpers helper 113
OPS_INNER helpers helper 113
OPS_FUNCTION helpers fuse_bpf_iomap_inval_mappings
LAST_BYTE conformance not where the walk found it
ONE_IN_THOUSAND conformance not where the walk found it
CASES

say "what no trying finds: a lie about one byte in the middle of a piece"
build ONE_PLACE
vet "$T/ONE_PLACE.bpf.o" || { cat "$T/report"; fail "it was found: say so in the manual"; }

say "a licence that is none for the kernel"
python3 - "$T/GOOD.bpf.o" "$T/licence.bpf.o" <<'PYTHON'
import sys
data = open(sys.argv[1], "rb").read()
assert data.count(b"GPL\0") == 1
open(sys.argv[2], "wb").write(data.replace(b"GPL\0", b"BSD\0"))
PYTHON
refused "$T/licence.bpf.o" licence GPL

say "no program, and half a one"
: >"$T/empty.bpf.o"
! vet "$T/empty.bpf.o" || fail "nothing was accepted"
head -c 3000 "$T/GOOD.bpf.o" >"$T/half.bpf.o"
! vet "$T/half.bpf.o" || fail "half a program was accepted"
head -c 2000000 /dev/zero >"$T/zeroes.bpf.o"
! vet "$T/zeroes.bpf.o" || fail "zeroes were accepted"

say "nothing stays loaded"
[ "$(ids)" = 0 ] || fail "$(ids) programs are left"
