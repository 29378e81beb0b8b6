#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the log says of a mount, a refusal and an end: who, which type, what, where, how it came out. A client's words are
# escaped, and a client cannot flood the log.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 8M
chown $ALICE:$ALICE "$T/image"
install -d -o $ALICE -g $ALICE "$T/mnt"
start_fused
id=$(fusectl_as $ALICE mount ext4 "$T/image" "$T/mnt")
assert_log "ext4.*"
log_has "$ALICE" || fail "the log does not say who"
log_has "$T/image" || fail "the log does not say what"
fusectl_as $ALICE umount "$id"
expect_fusectl_as 3 $ALICE mount nonsense "$T/image" "$T/mnt"
assert_log 'no-such-type'
say "escaped"
cp "$T/image" "$T/"$'odd\nname'; chown $ALICE "$T/"$'odd\nname'
fusectl_as $ALICE mount ext4 "$T/"$'odd\nname' "$T/mnt" >/dev/null
fusectl_as $ALICE umount "$T/mnt"
! grep -q '^name' "$T/fused.log" || fail "a client can write lines of its own into the log"
say "not flooded"
before=$(wc -l <"$T/fused.log")
for _ in $(seq 150); do fusectl_as $ALICE mount nonsense "$T/image" "$T/mnt" >/dev/null 2>&1 || true; done
lines=$(($(wc -l <"$T/fused.log") - before))
echo "$lines lines for 150 refusals"
[ $lines -lt 120 ] || fail "every refusal was logged"
