#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# The same attempts from inside a server that fused's own launcher started and from inside a unit, compared row by row. Both must
# refuse what is to be refused and permit its neighbours; where the two differ, the difference must be one that is known.
. "$TOP/tests/rigs/lib.sh"
export FUSED_AGENT=$BUILD/fused/agent/fused-agent FUSED_POLICY=$BUILD/policy/fused-policy
install -Dm755 "$BUILD/fused/launcher/escape" /usr/lib/fused-test/escape
for hand_over in service fd; do
        cat >"/etc/fused/types/escape-$hand_over.conf" <<-EOF
	[Type]
	Program=/usr/lib/fused-test/escape
	Arguments=none
	HandOver=$hand_over
	[Slot empty]
	Accept=none file
	[Sandbox]
	Files=/lib64/ld-linux-x86-64.so.2
	[Limits]
	Processes=32
	OpenFiles=64
	EOF
        sed -i 's/^\t//' "/etc/fused/types/escape-$hand_over.conf"
done
systemctl daemon-reload
for hand_over in service fd; do
        systemctl start "fuse-service-escape-$hand_over.socket"
        say "$hand_over: by fused's own launcher"
        "$BUILD/fused/launcher/test-escape" /usr/lib/fused-test/escape "$hand_over" shipped >"$T/own" || { cat "$T/own"; fail "the launcher itself lets something through"; }
        say "$hand_over: as a unit"
        "$BUILD/fused/launcher/unit-escape" "escape-$hand_over" /usr/lib/fused-test/escape "$hand_over" "fused-escape-unit-$hand_over"
        ended() { journalctl -b --no-pager -o cat -t "fuse-escape-$hand_over" | grep -qx end; }
        wait_for "the end of the attempts" 30 ended
        journalctl -b --no-pager -o cat -t "fuse-escape-$hand_over" >"$T/unit"
        /usr/bin/python3 "$TOP/tests/rigs/compare-escape.py" "$TOP/tests/escape/rows.h" "$T/own" "$T/unit" "$hand_over"
done
rm -f /etc/fused/types/escape-*.conf
systemctl daemon-reload
