#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An image file has one mount that writes it, or many that read it.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/tree"; echo content >"$T/tree/file"
make_ext4_image "$T/image" 16M "$T/tree"
ln "$T/image" "$T/other-name"
chown $ALICE:$ALICE "$T/image"
mkdir "$T/a" "$T/b"
install -d -o $ALICE -g $ALICE "$T/alice"
start_fused

say "written once"
id=$(fusectl mount ext4 "$T/image" "$T/a")
for place in "$T/image" "$T/other-name"; do
        expect_fusectl 3 mount ext4 "$place" "$T/b"
        out_has '\[file-busy\]'
        expect_fusectl 3 mount ext4 "$place" "$T/b" -o ro
        out_has '\[file-busy\]'
done
expect_fusectl_as 3 $ALICE mount ext4 "$T/image" "$T/alice"
out_has '\[file-busy\]'
say "another file at the same time; and the same one afterwards"
cp "$T/image" "$T/copy"
fusectl mount ext4 "$T/copy" "$T/b" >/dev/null
fusectl umount "$T/b"
fusectl umount "$id"
fusectl mount ext4 "$T/image" "$T/a" >/dev/null
fusectl umount "$T/a"

say "read by many, and not written meanwhile"
fusectl mount ext4 "$T/image" "$T/a" -o ro >/dev/null
fusectl mount ext4 "$T/image" "$T/b" -o ro >/dev/null
assert_equal "$(cat "$T/a/file" "$T/b/file" | sort -u)" content
expect_fusectl_as 3 $ALICE mount ext4 "$T/image" "$T/alice"
out_has '\[file-busy\]'
fusectl umount "$T/a"
fusectl umount "$T/b"
fusectl_as $ALICE mount ext4 "$T/image" "$T/alice" >/dev/null
fusectl_as $ALICE umount "$T/alice"

say "a server that is killed keeps nothing"
fusectl mount ext4 "$T/image" "$T/a" >/dev/null
kill -KILL "$(field "$T/a" server-pid)"
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
wait_for "the end of the mount" 10 gone
e2fsck -fy "$T/image" >/dev/null 2>&1 || [ $? -le 1 ]
fusectl mount ext4 "$T/image" "$T/a" >/dev/null
fusectl umount "$T/a"

say "who may only read it cannot keep others from reading it"
lock() { exec python3 -c 'import fcntl, struct, sys, time
f = open(sys.argv[1], sys.argv[3])
try: fcntl.fcntl(f, 37, struct.pack("hhqqixxxx", getattr(fcntl, sys.argv[2]), 0, 0, 0, 0)) # F_OFD_SETLK
except OSError as e: sys.exit(e.strerror)
open(sys.argv[4], "w"); time.sleep(60)' "$1" "$2" "$3" "$T/alice/locked"; }
chmod 644 "$T/image"
bobs_lock() { as_user $BOB python3 -c 'import fcntl, struct, sys
fcntl.fcntl(open(sys.argv[1]), 37, struct.pack("hhqqixxxx", getattr(fcntl, sys.argv[2]), 0, 0, 0, 0))' "$T/image" "$1"; }
bobs_lock F_RDLCK
if bobs_lock F_WRLCK 2>/dev/null; then fail "a lock for writing without the right to write"; fi
lock "$T/image" F_WRLCK r+ & locker=$!
wait_for "the lock" 5 test -e "$T/alice/locked"
expect_fusectl 3 mount ext4 "$T/image" "$T/a" -o ro
out_has '\[file-busy\]'
kill $locker; wait $locker || true
fusectl mount ext4 "$T/image" "$T/a" -o ro >/dev/null
fusectl umount "$T/a"

say "tools that write images and read them"
busy() { # WORDS COMMAND...
        local words=$1 out status=0
        shift
        out=$("$STAGE/bin/$1" "${@:2}" 2>&1) || status=$?
        assert_equal "$status $out" "1 $words" "$*"
}
"$STAGE/bin/fused-pack" "$T/tree" "$T/pack" >/dev/null
fusectl mount pack "$T/pack" "$T/a" >/dev/null
busy "fused-pack: $T/pack: it is in use" fused-pack "$T/tree" "$T/pack"
"$STAGE/bin/fused-pack" verify "$T/pack" >/dev/null || fail "what is only read cannot be verified"
assert_equal "$(cat "$T/a/file")" content
fusectl umount "$T/a"
"$STAGE/bin/fused-pack" "$T/tree" "$T/pack" >/dev/null
truncate -s 8M "$T/m0" "$T/m1" "$T/m2"
"$STAGE/bin/fused-stripe" create "$T/m0" "$T/m1"
fusectl mount stripe "$T/m0" "$T/a" -o "slot.device1=$T/m1" >/dev/null
busy "fused-stripe: $T/m0: it is in use" fused-stripe create "$T/m0" "$T/m1"
busy "fused-stripe: $T/m1: it is in use" fused-stripe create "$T/m2" "$T/m1"
busy "fused-stripe: $T/m0: it is in use" fused-stripe add name "$T/m0" "$T/m1"
busy "fused-stripe: $T/m0: it is in use" fused-stripe list "$T/m0" "$T/m1"
echo content >"$T/a/file"
fusectl umount "$T/a"
fusectl mount stripe "$T/m0" "$T/a" -o "ro,slot.device1=$T/m1" >/dev/null
"$STAGE/bin/fused-stripe" check "$T/m0" "$T/m1" >/dev/null || fail "what is only read cannot be checked"
busy "fused-stripe: $T/m0: it is in use" fused-stripe fill "$T/tree" "$T/m0" "$T/m1"
assert_equal "$(cat "$T/a/file")" content
fusectl umount "$T/a"
"$STAGE/bin/fused-stripe" create "$T/m0" "$T/m1"
