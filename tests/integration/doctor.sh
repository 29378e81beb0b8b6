#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# doctor: every probe that the manual promises, as root and as a user, in time, leaving nothing. It needs no supervisor.
. "$TOP/tests/lib/lib.sh"
for user in 0 $ALICE; do
        OUT=$(as_user $user timeout 30 "$STAGE/bin/fusectl" --runtime-directory "$T/run" doctor)
        echo "$OUT"
        for word in passthrough resend uring idmap iomap BPF notif andlock pidfd 'mount'; do out_has "$word"; done
        as_user $user timeout 30 "$STAGE/bin/fusectl" --runtime-directory "$T/run" --json doctor >"$T/doctor.$user"
        [ "$(json 'len(d)' <"$T/doctor.$user")" -ge 10 ] || fail "too few probes"
        [ "$(json "len([p for p in d if p['state'] in ('yes', 'no', 'unknown')])" <"$T/doctor.$user")" = "$(json 'len(d)' <"$T/doctor.$user")" ] || fail "states"
done
say "what it says of this kernel holds where it can be seen from here"
yes_no() { json "[p['state'] for p in d if p['name'] == '$1'] or sorted(p['name'] for p in d)" <"$T/doctor.0"; }
yes_no passthrough
