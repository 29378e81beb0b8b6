#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mapping programs: listed by policy, vetted, loaded for one mount, run by its server, which may do nothing else with bpf(2).
. "$TOP/tests/lib/lib.sh"
use_program one-file
use_type one-file "LISTED=linear missing changed signed forged others slow followed other-type" one-file
head -c 8388608 /dev/urandom >"$T/image"
mkdir "$T/mnt"
objects=$(dirname "$(find "$STAGE/lib" -name linear.bpf.o)")
mkdir -p "$T/objects" "$T/policy/fused.conf.d"
chmod 755 "$T/objects"
cp "$objects/linear.bpf.o" "$T/objects/changed.bpf.o"
printf '\0' >>"$T/objects/changed.bpf.o"
cp "$objects/linear.bpf.o" "$T/objects/signed.bpf.o"
install -m 666 "$objects/linear.bpf.o" "$T/objects/others.bpf.o" # anybody may change it
openssl genpkey -algorithm ed25519 -out "$T/key.pem" 2>/dev/null
openssl pkey -in "$T/key.pem" -pubout -out "$T/objects/key.pub"
openssl pkeyutl -sign -rawin -inkey "$T/key.pem" -in "$T/objects/signed.bpf.o" -out "$T/objects/signed.sig"
head -c 64 /dev/urandom >"$T/objects/forged.sig"
chmod 644 "$T"/objects/*.sig "$T/objects/key.pub"
digest=$(sha256sum <"$objects/linear.bpf.o" | cut -d' ' -f1)
for bad in slow followed other-type; do # see bad-programs.sh
        case $bad in other-type) case=OPS_TYPE ;; *) case=${bad^^} ;; esac
        clang -target bpf -O2 -g -mcpu=v3 -Wno-unused -DCASE=$case -I"$TOP/bpf" -I"$TOP/server" -I/usr/include/"$(gcc -print-multiarch)" \
                -c "$TOP/tests/bad-programs/bad.bpf.c" -o "$T/objects/$bad.bpf.o"
        printf '[Program %s]\nObject=%s\nSHA256=%s\n' $bad "$T/objects/$bad.bpf.o" "$(sha256sum <"$T/objects/$bad.bpf.o" | cut -d' ' -f1)"
done >"$T/policy/fused.conf.d/bad.conf"
chmod 644 "$T"/objects/*.bpf.o
chmod 666 "$T/objects/others.bpf.o"
cat >"$T/policy/fused.conf.d/more.conf" <<CONF
[Program missing]
Object=$T/objects/none.bpf.o
SHA256=$digest
[Program changed]
Object=$T/objects/changed.bpf.o
SHA256=$digest
[Program signed]
Object=$T/objects/signed.bpf.o
Signature=$T/objects/signed.sig
PublicKey=$T/objects/key.pub
[Program forged]
Object=$T/objects/signed.bpf.o
Signature=$T/objects/forged.sig
PublicKey=$T/objects/key.pub
[Program others]
Object=$T/objects/others.bpf.o
SHA256=$digest
CONF
start_fused
ls_programs() { python3 "$TOP/tests/lib/bpf-programs.py" | grep -x linear_run || true; }
generation() { busctl --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Generation | cut -d' ' -f2; }
no_programs() { [ "$(ls_programs | wc -l)" -le "$before" ]; }
before=$(ls_programs | wc -l)
fusectl_reload() { local was; was=$(generation); kill -HUP "$FUSED_PID"; newer() { [ "$(generation)" -gt "$was" ]; }; wait_for "the new policy" 15 newer; }
mapping_of() { fusectl --json status "$1" | json "d['mapping']['$2']"; }

say "a program answers, and its server may do nothing else with bpf(2)"
id=$(fusectl mount one-file "$T/image" "$T/mnt" -o program=linear,poke)
cmp "$T/mnt/data" "$T/image" || fail "it does not read as the image"
assert_equal "$(fusectl --json status "$id" | json "d['program']")" linear
[ "$(mapping_of "$id" answered-by-program)" -gt 10 ] || fail "the program was not asked: $(fusectl status "$id")"
assert_equal "$(mapping_of "$id" answered-by-server)" 0 "lookups by the server"
dd if=/dev/urandom of="$T/mnt/data" bs=64K count=8 seek=3 conv=notrunc,fsync status=none
cmp "$T/mnt/data" "$T/image" || fail "what was written is not in the image"
fusectl status "$id" | grep -q 'one-file: poked' || fail "it has not tried"
! fusectl status "$id" | grep 'one-file: bpf command' || fail "bpf(2) lets it do more"
[ "$(ls_programs | wc -l)" -gt "$before" ] || fail "there is no program to see"
! python3 "$TOP/tests/lib/bpf-programs.py" | grep -x linear_fill || fail "the sample is loaded for the server, which could write to its tables by it"
fusectl umount "$T/mnt"
wait_for "the end of all programs" 5 no_programs

say "bound to the connection: not on a kernel without fuse-iomap, where the server goes on running it by its descriptor"
id=$(fusectl mount one-file "$T/image" "$T/mnt" -o program=linear,attach)
cmp "$T/mnt/data" "$T/image" || fail "it does not read as the image"
fusectl status "$id" | grep -q 'one-file: attach: Operation not supported' || fail "$(fusectl status "$id")"
assert_equal "$(fusectl --json status "$id" | json "d['program-in-kernel']")" False
fusectl status "$id" | grep -q 'one-file: attached linear' || fail "it has not gone on"
assert_equal "$(fusectl --json status "$id" | json "d['program']")" linear
[ "$(mapping_of "$id" answered-by-program)" -gt 10 ] || fail "the program was not asked: $(fusectl status "$id")"
fusectl umount "$T/mnt"
id=$(fusectl mount one-file "$T/image" "$T/mnt" -o program=missing,attach)
fusectl status "$id" | grep -q 'one-file: attach: No such file' || fail "nothing is loaded, but: $(fusectl status "$id")"
fusectl umount "$T/mnt"

say "a kernel that says it has fuse-iomap, and does not take the form: the log says why, and it is as before"
"$BUILD/bpf/test-program-forms" --write b5 "$T/btf"
mount --bind "$T/btf" /sys/kernel/btf/vmlinux
id=$(fusectl mount one-file "$T/image" "$T/mnt" -o program=linear,attach)
umount /sys/kernel/btf/vmlinux
grep -q 'the kernel cannot run program linear by itself: form b5: ' "$T/fused.log" || fail "the log does not say that it was tried"
fusectl status "$id" | grep -q 'one-file: attach: Operation not supported' || fail "$(fusectl status "$id")"
cmp "$T/mnt/data" "$T/image" || fail "it does not read as the image"
[ "$(mapping_of "$id" answered-by-program)" -gt 10 ] || fail "the program was not asked: $(fusectl status "$id")"
fusectl umount "$T/mnt"

say "a type that lists none has no bpf(2) at all; one that is not listed is not there"
use_type one-file LISTED= plain-file
fusectl_reload
id=$(fusectl mount plain-file "$T/image" "$T/mnt" -o program=linear)
fusectl status "$id" | grep -q 'program linear: No such file' || fail "$(fusectl status "$id")"
cmp "$T/mnt/data" "$T/image" || fail "it does not work without"
fusectl umount "$T/mnt"

say "fusectl shows them, and makes the same checks"
fusectl program list | grep -q '^stripe .*digest' || fail "$(fusectl program list)"
assert_equal "$(fusectl --json program show signed | json "d['signature']")" "$T/objects/signed.sig"
assert_equal "$(fusectl --json program show linear | json "d['types']")" "['one-file']"
assert_equal "$(fusectl --json program list | json "[p['types'] for p in d if p['name'] == 'missing']")" "[['one-file']]"
fusectl program show linear | grep -Eq '^ *types: *one-file$' || fail "$(fusectl program show linear)"
! fusectl program show nothing 2>/dev/null || fail "it shows what is not there"
fusectl program verify "$objects/stripe.bpf.o" --device 64M --device 32M | grep -q '^accepted' || fail "a good one is refused"
printf 'no object' >"$T/junk"
! fusectl program verify "$T/junk" >"$T/out" || fail "junk is accepted"
grep -q 'FAIL *format' "$T/out" || fail "$(cat "$T/out")"

say "what cannot be tried is not accepted, nor refused"
verify() { status=0; "$@" >"$T/out" 2>"$T/err" || status=$?; } # into out, err and status
untried() { # REASON FILE [COMMAND...]: as text and in JSON
        local reason=$1 file=$2
        shift 2
        verify "$@" "$STAGE/bin/fusectl" program verify "$file"
        assert_equal "$status" 1 "the status for $file"
        assert_equal "$(cat "$T/err")" "fusectl program: $file could not be tried: $reason"
        ! grep -Eq 'accepted|refused|FAIL' "$T/out" || fail "$(cat "$T/out")"
        verify "$@" "$STAGE/bin/fusectl" --json program verify "$file"
        assert_equal "$status" 1 "the status for $file"
        assert_equal "$(json "(d['accepted'], d['error'])" <"$T/out")" "(False, '$reason')"
}
untried "Is a directory" /etc
untried "No such file or directory" "$T/nothing"
untried "loading it takes CAP_BPF and CAP_PERFMON" "$objects/linear.bpf.o" as_user $ALICE
verify "$STAGE/bin/fusectl" --json program verify "$T/junk"
assert_equal "$status" 3 "the status of what is refused"
assert_equal "$(json "(d['accepted'], 'error' in d, d['checks'][-1]['passed'])" <"$T/out")" "(False, False, False)"
verify "$STAGE/bin/fusectl" --json program verify "$objects/linear.bpf.o"
assert_equal "$status" 0 "the status of what is accepted"
assert_equal "$(json "(d['accepted'], 'error' in d)" <"$T/out")" "(True, False)"

say "a wrong word is named"
wrong() { # WORDS... = WHAT IS SAID
        local words=()
        while [ "$1" != = ]; do words+=("$1"); shift; done
        verify "$STAGE/bin/fusectl" program verify "${words[@]}"
        assert_equal "$status" 2 "the status of ${words[*]}"
        grep -Fq -- "fusectl program: $2" "$T/err" || fail "${words[*]}: $(cat "$T/err")"
}
wrong --device 64X "$T/junk" = "--device 64X: a number of bytes is wanted"
wrong --device 0 "$T/junk" = "--device 0: a number of bytes is wanted"
wrong --device 16777216T "$T/junk" = "--device 16777216T: that is more than there can be"
wrong --device 99999999999T "$T/junk" = "--device 99999999999T: that is more than there can be"
wrong --memory -1 "$T/junk" = "--memory -1: a number of bytes is wanted"
wrong --block 100 "$T/junk" = "--block 100: a power of two from 512 to 64K is wanted"
wrong --seed x "$T/junk" = "--seed x: a number is wanted"
wrong --name x "$T/junk" = "unrecognized option '--name'"
wrong --device 64M = "which file?"
wrong "$T/junk" "$T/junk" = "one file at a time"
verify "$STAGE/bin/fusectl" program verify --help
assert_equal "$status" 0 "the status of --help"
for word in device block memory sha256 seed json; do grep -q -- "--$word" "$T/out" || fail "--$word is not in the help"; done
verify "$STAGE/bin/fusectl" program verify --device 8388607T "$objects/linear.bpf.o"
assert_equal "$status" 0 "the status with the largest device"

say "signed instead of listed by digest"
id=$(fusectl mount one-file "$T/image" "$T/mnt" -o program=signed)
assert_equal "$(fusectl --json status "$id" | json "d['program']")" signed
fusectl umount "$T/mnt"

refused() { # NAME RULE [IMAGE [,OPTION]]
        local id image=${3:-$T/image}
        id=$(fusectl mount one-file "$image" "$T/mnt" -o "program=$1${4:-}")
        fusectl status "$id" | grep -q "program $1: Operation not permitted" || fail "$1: $(fusectl status "$id")"
        grep -q "program $1 is refused: $2" "$T/fused.log" || fail "$1: the log does not say: $2"
        cmp "$T/mnt/data" "$image" || fail "$1: the mount does not work without"
        fusectl umount "$T/mnt"
}
say "what is refused before a byte of it is parsed"
refused missing "object: the file that the policy names is not there"
refused changed "digest: SHA-256 is"
refused forged "signature: the signature is not of this object"
refused others "object: the file that the policy names is not root's alone"
wait_for "the end of all programs" 5 no_programs

say "what is slow is refused in time, and not waited for"
truncate -s 64M "$T/large"
refused slow "time: [0-9]* ns of the processor for an answer" "$T/large"
refused followed "size: bad_run has the verifier follow"

say "what would be bound to the machine instead of the mount is refused, whatever the kernel has"
congestion() { cat /proc/sys/net/ipv4/tcp_available_congestion_control; }
known=$(congestion)
"$BUILD/bpf/test-program-forms" --write b1 "$T/btf"
mount --bind "$T/btf" /sys/kernel/btf/vmlinux
MOUNTED+=(/sys/kernel/btf/vmlinux)
refused other-type "struct_ops: other_ops_b1 is no struct fuse_iomap_bpf_ops" "$T/large" ,attach
umount /sys/kernel/btf/vmlinux
MOUNTED=()
assert_equal "$(congestion)" "$known" "what TCP has to choose from"

say "vetting that takes too long is given up before the mount is"
stop_vetting() { # until it is there
        local p
        for p in $(descendants "$FUSED_PID"); do
                [ "$(cat "/proc/$p/comm" 2>/dev/null)" != fused-program ] || { kill -STOP "$p" && STOPPED=$p; return; }
        done
        return 1
}
fusectl mount one-file "$T/image" "$T/mnt" -o program=linear >"$T/out" 2>&1 &
MOUNT=$!
STOPPED=
for _ in $(seq 2000); do stop_vetting && break; sleep 0.002; done
[ -n "$STOPPED" ] || fail "no vetting was seen"
wait "$MOUNT" || fail "it is not mounted: $(cat "$T/out")"
wait_for "the end of what was stopped" 10 process_gone "$STOPPED"
fusectl status "$T/mnt" | grep -q 'program linear: Connection timed out' || fail "$(fusectl status "$T/mnt")"
grep -q 'program linear could not be loaded: Connection timed out' "$T/fused.log" || fail "the log does not say so"
cmp "$T/mnt/data" "$T/image" || fail "the mount does not work without"
fusectl umount "$T/mnt"

say "a server may ask for eight, and then for one in ten seconds"
sed 's/^Start=.*/Start=60s/; s/^Init=.*/Init=60s/' "$T/policy/types/one-file.conf" >"$T/policy/types/patient.conf"
fusectl_reload
id=$(fusectl mount patient "$T/image" "$T/mnt" -o program=linear,again=11)
allowed=$(fusectl status "$id" | grep -c 'again: Success')
[ "$allowed" -ge 7 ] && [ "$allowed" -lt 11 ] || fail "$allowed of 11: $(fusectl status "$id")"
assert_equal "$(fusectl status "$id" | grep -c 'again: Device or resource busy')" $((11 - allowed)) "those refused"
cmp "$T/mnt/data" "$T/image" || fail "it does not work"
fusectl umount "$T/mnt"
wait_for "the end of all programs" 5 no_programs

say "the memory of its tables counts for its user, is refused beyond the limit, by name, and given back at the end"
printf '[Limits]\nMaxMemory=212M\n' >"$T/policy/fused.conf.d/quota.conf"
of_type() { { sed -e "s/^Description=.*/Description=$1/" "$T/policy/types/one-file.conf"; printf '[Limits]\nMemory=%s\n' "$2"; } >"$T/policy/types/$1.conf"; }
of_type file-64 64M
fusectl_reload
in_use() { as_user "$1" busctl --json=short --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Usage |
        python3 -c "import json, sys; print(json.load(sys.stdin)['data']['memory-mib'])"; }
for i in 1 2 3; do
        install -d -o $ALICE "$T/a$i"
        install -o $ALICE -m 600 "$T/image" "$T/image$i"
done
install -d -o $BOB "$T/b"
install -o $BOB -m 600 "$T/image" "$T/image-b"
mount_as() { ID=$(fusectl_as "$1" mount file-64 "$2" "$3" -o "program=linear,entries=200000${4:-}"); } # entries of 32 bytes: 7 MiB
has_program() { [ "$(fusectl --json status "$ID" | json "d.get('program', '')")" = linear ]; }
mount_as $ALICE "$T/image1" "$T/a1"
assert_equal "$(in_use $ALICE)" 71
mount_as $ALICE "$T/image2" "$T/a2"
assert_equal "$(in_use $ALICE)" 142
fusectl status "$ID" | grep -q 'program: linear, tables of 7 MiB' || fail "$(fusectl status "$ID")"
has_program || fail "the second has none: $(fusectl status "$ID")"
mount_as $ALICE "$T/image3" "$T/a3"
! has_program || fail "the third has one"
fusectl status "$ID" | grep -q 'one-file: program linear: Disk quota exceeded' || fail "$(fusectl status "$ID")"
fusectl status "$ID" | grep -Eq 'larger than MaxMemory=212M leaves, 206M in use \(.*quota.conf:[0-9]+\)' || fail "it does not name the key: $(fusectl status "$ID")"
grep -q 'program linear is refused: quota: its tables take [0-9]* bytes, 6291456 are left' "$T/fused.log" || fail "the log does not say so"
as_user $ALICE cmp "$T/a3/data" "$T/image3" || fail "it does not work without"
assert_equal "$(in_use $ALICE)" 206 "after a refusal"
mount_as $BOB "$T/image-b" "$T/b"
has_program || fail "another user has none"
fusectl umount "$T/a3"
fusectl umount "$T/a1"
assert_equal "$(in_use $ALICE)" 71 "after an unmount"
mount_as $ALICE "$T/image3" "$T/a3"
has_program || fail "what was given back is not there"
for d in a2 a3 b; do fusectl umount "$T/$d"; done
assert_equal "$(in_use $ALICE)" 0 "in the end"

say "what a server gives back while it is mounted counts no more when it asks again"
mount_as $ALICE "$T/image1" "$T/a1" ",again=4"
assert_equal "$(fusectl status "$ID" | grep -c 'one-file: again: Success')" 4 "$(fusectl status "$ID")"
[ "$(in_use $ALICE)" -le 85 ] || fail "all of them count: $(in_use $ALICE)" # the last may not be known to be gone, nor the one before
fusectl umount "$T/a1"
assert_equal "$(in_use $ALICE)" 0

say "nor may it be more than the type's servers may have"
of_type small-file 32M
fusectl_reload
ID=$(fusectl mount small-file "$T/image" "$T/mnt" -o program=linear,entries=1200000)
fusectl status "$ID" | grep -q 'larger than Memory=32M of type small-file leaves (.*small-file.conf' || fail "$(fusectl status "$ID")"
cmp "$T/mnt/data" "$T/image" || fail "it does not work without"
fusectl umount "$T/mnt"
ID=$(fusectl mount small-file "$T/image" "$T/mnt" -o program=linear,entries=200000)
has_program || fail "a smaller one is refused: $(fusectl status "$ID")"
fusectl umount "$T/mnt"
wait_for "the end of all programs" 5 no_programs
