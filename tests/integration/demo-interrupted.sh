#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# Ctrl-C in the middle of the demo: it cleans up as if it had come to its end. The user's own image and directory stay.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
mkdir "$T/mnt"
before=$(find /tmp -maxdepth 1 -name 'fused-demo.*' | sort)
# an interactive shell's child: SIGINT is not ignored, and it is the leader of a group of its own
/usr/bin/python3 - "$TOP/demo.sh" "$T/image" "$T/mnt" "$T/out" <<'P'
import os, signal, subprocess, sys, time
demo, image, point, out = sys.argv[1:]
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(out, "w") as f:
    p = subprocess.Popen([demo, image, point], stdout=f, stderr=f, stdin=subprocess.DEVNULL, start_new_session=True)
end = time.monotonic() + 150
while not os.path.ismount(point) and p.poll() is None and time.monotonic() < end:
    time.sleep(0.01)
if p.poll() is not None:
    sys.exit("the demo ended before it was interrupted:\n" + open(out).read()[-3000:])
os.killpg(p.pid, signal.SIGINT)
sys.exit(0 if p.wait(40) == 130 else f"exit status {p.returncode}:\n" + open(out).read()[-3000:])
P
not_mounted "$T/mnt" || fail "still mounted"
assert_equal "$(find /tmp -maxdepth 1 -name 'fused-demo.*' | sort)" "$before" "directories of the demo"
fsck_clean "$T/image"
