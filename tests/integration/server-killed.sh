#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 150
# A server that ends while a thread of it has the kernel write back, which the server itself has to answer: told to, it answers first; killed, it would wait
# for itself for ever, if its connection were not ended.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 2G
mkdir "$T/mnt"
start_fused
attach_loop "$T/image"

# Much that is not written back, and a question for which it has to be; until nobody answers.
ask_for_holes() { # FILE
        python3 - "$1" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
data = b"x" * (1 << 20)
try:
    while True:
        for i in range(200):
            os.pwrite(fd, data, i << 20)
        os.lseek(fd, 0, os.SEEK_HOLE)
except OSError as e:
    print(e.strerror)
PY
}
flushes() { grep -qs launder "/proc/$server/task/"*/stack; }
process_is_gone() { [ ! -d "/proc/$1" ]; }
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
# Ends the server in the middle of it, with that signal.
end_server() { # SIGNAL
        id=$(fusectl mount ext4-map "$LOOP" "$T/mnt")
        server=$(field "$id" server-pid)
        ask_for_holes "$T/mnt/file" >"$T/told" &
        client=$!
        until flushes; do
                kill -0 $client 2>/dev/null || fail "no flush was seen"
                sleep 0.01
        done
        kill "-$1" "$server"
        wait_for "an answer for the client" 20 process_is_gone $client
        wait_for "the end of the mount" 20 gone
        wait_for "the end of the server" 5 process_is_gone "$server"
        wait_for "the mount point to be free" 5 not_mounted "$T/mnt"
        grep -qE "not connected|abort" "$T/told" || fail "the client was told: $(cat "$T/told")"
}
say "told to"
end_server TERM
fsck_clean "$T/image"
say "killed"
end_server KILL
assert_log "mount $id: server $server has been killed"
say "and the next one works"
e2fsck -fy "$T/image" >/dev/null || [ $? -le 2 ] || fail "e2fsck"
fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
echo x >"$T/mnt/other"
fusectl umount "$T/mnt"
