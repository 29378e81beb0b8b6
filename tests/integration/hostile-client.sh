#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 180
# Clients that do not behave: each attack costs only its own connection, and nothing is left.
. "$TOP/tests/lib/lib.sh"
install -d -o $ALICE -g $ALICE "$T/$ALICE" "$T/mnt"
make_ext4_image "$T/$ALICE/image" 8M
chown $ALICE:$ALICE "$T/$ALICE/image"
chmod 755 "$T/$ALICE"
install -D -m 755 "$BUILD/tests/integration/hostile-client" "$T/programs/hostile-client"
start_fused
first_broker=$FUSED_PID first_manager=$(manager_pid)
# somebody else's mount goes on through all of it
mkdir "$T/other"; make_squashfs_image "$T/squash"
id=$(fusectl mount squashfs "$T/squash" "$T/other")
failures=0
attack() { # USER ATTACK [NUMBER]
        local user=$1
        shift
        say "$* as $user"
        (cd "$T/$ALICE" && as_user "$user" timeout -k 5 90 "$T/programs/hostile-client" "$T/run/control" "$@") || { echo "^^^ failed"; failures=$((failures + 1)); }
        [ "$(manager_pid)" = "$first_manager" ] || fail "the manager has ended"
        kill -0 "$first_broker" || fail "the broker has ended"
        assert_equal "$(cat "$T/other/file")" text
        fusectl list >/dev/null || fail "root is not served any more"
}
for user in $ALICE 0; do
        for name in wrong-fds many-fds bad-calls long-strings garbage garbage-message huge-message half-message rights; do attack "$user" $name; done
done
attack $ALICE foreign-mountpoints
attack $ALICE silent
attack $ALICE half-authentication
attack $ALICE connections 10000
attack $ALICE die-while-mounting 60
attack 0 die-while-mounting 30
only_one() { [ "$(fusectl --json list | json 'len(d)')" = 1 ]; }
wait_for "the end of cancelled mounts" 20 only_one
fusectl umount "$id"
[ $failures -eq 0 ] || fail "$failures attacks were not answered as they should be"
