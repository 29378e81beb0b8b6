#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# A server that answers INIT and then nothing: callers hang, status says so, abort frees them at once.
. "$TOP/tests/lib/lib.sh"
use_program hostile-fd
use_type hostile-fd BEHAVIOUR=hang-after-init hang
mkdir "$T/mnt"
start_fused
id=$(fusectl mount hang none "$T/mnt")
pids=()
for i in 1 2 3; do
        ls "$T/mnt" >/dev/null 2>"$T/error$i" &
        pids+=($!)
done
waiting() { [ "$(field "$id" requests-waiting)" -ge 1 ]; }
wait_for "requests that wait" 5 waiting
kill -0 "${pids[0]}" || fail "the caller is not blocked"
started=$(date +%s%N)
fusectl abort "$id"
for pid in "${pids[@]}"; do ! wait "$pid" || fail "a caller of an aborted mount got an answer"; done
took=$((($(date +%s%N) - started) / 1000000))
echo "freed after $took ms"
[ $took -lt 5000 ] || fail "it took $took ms"
not_mounted "$T/mnt" || fail "it is still mounted"
say "by mount point, which must not be asked for anything"
id=$(fusectl mount hang none "$T/mnt")
ls "$T/mnt" >/dev/null 2>&1 &
blocked=$!
wait_for "requests that wait" 5 waiting
fusectl status "$T/mnt" >/dev/null
fusectl abort "$T/mnt"
wait $blocked || true
expect_fusectl 4 abort "$id"
