#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# A worker for backing files that hangs in a file system of the user's, where it cannot be killed: its mount stays the user's, with its uid and
# all that is charged, until it is gone.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/low"
install -d -o $ALICE "$T/mnt" "$T/mnt2" "$T/plain"
python3 "$TOP/tests/lib/hang-fs.py" "$T/low" $ALICE "$T/hang.log" >"$T/hang.out" &
HANG=$!
mounted_low() { grep -q mounted "$T/hang.out"; }
wait_for "the file system that hangs" 10 mounted_low
end_hang() { # ends what hangs; its mount is left
        [ -z "$HANG" ] || kill -KILL "$HANG" 2>/dev/null || true
        HANG=
        umount -l "$T/low" 2>/dev/null || true
}
at_end end_hang
start_fused
usage() { as_user $ALICE busctl --json=short --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Usage |
        python3 -c "import json, sys; print(json.load(sys.stdin)['data']['$1'])"; }
held() { [ -s "$T/hang.log" ]; }
state_of() { fusectl --json list | json "[m['state'] for m in d if m['id'] == $1]"; }
ended() { [ "$(state_of "$1")" = "[]" ]; }
is_ending() { [ "$(state_of "$1")" = "['ending']" ]; }
hangs() { [ "$(awk '$1 == "State:" {print $2}' "/proc/$1/status" 2>/dev/null)" = D ]; }
uid_of() { awk '$1 == "Uid:" {print $2}' "/proc/$1/status"; }

say "what hangs is killed in vain, and the mount goes on without"
id=$(fusectl_as $ALICE mount mirror "$T/low" "$T/mnt" -o passthrough)
assert_equal "$(as_user $ALICE head -c 100 "$T/mnt/big" | wc -c)" 100
wait_for "the worker to close the file" 10 held
worker=$(awk '$1 == "held" {print $2; exit}' "$T/hang.log")
uid=$(uid_of "$worker")
assert_equal "$(field "$id" server-uid)" "$uid" "the worker's uid"
given_up() { grep -q 'worker .* has not finished in time' "$T/fused.log"; }
wait_for "it to be given up" 15 given_up
wait_for "it to hang" 5 hangs "$worker"

say "its mount is not over before it is"
before=$(usage mounts)
fusectl umount "$T/mnt" &
UMOUNT=$!
wait_for "the mount's end to begin" 15 is_ending "$id"
sleep 7 # longer than all that is left takes
hangs "$worker" || fail "it does not hang any more: this test is none"
is_ending "$id" || fail "the mount has ended before its worker: $(fusectl list)"
assert_equal "$(usage mounts)" "$before" "what is charged"
says_why() { grep -q "mount $id: the worker for its backing files is killed but not gone" "$T/fused.log"; }
wait_for "the log to say why" 15 says_why

say "another mount gets another uid, and all of it is given back once what hung lets go"
other=$(fusectl_as $ALICE mount mirror "$T/plain" "$T/mnt2")
[ "$(field "$other" server-uid)" != "$uid" ] || fail "its uid is given to another while it is there"
fusectl umount "$T/mnt2"
end_hang
wait_for "the end" 20 ended "$id"
wait "$UMOUNT" || fail "unmounting failed"
[ ! -e "/proc/$worker" ] || fail "the worker is still there"
assert_equal "$(usage mounts)" $((before - 1)) "what is charged in the end"
