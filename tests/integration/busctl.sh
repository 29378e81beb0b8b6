#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The control interface with nothing but busctl: no bus daemon, any user may look.
. "$TOP/tests/lib/lib.sh"
start_fused
A="--address=unix:path=$T/run/control"
for user in 0 $ALICE; do
        OUT=$(as_user $user busctl "$A" introspect org.fused1 /org/fused1)
        for member in Mount Unmount Abort ListMounts GetMount ListTypes ExplainPolicy Version Generation Limits Usage; do out_has "\.$member "; done
        OUT=$(as_user $user busctl "$A" call org.fused1 /org/fused1 org.fused1.Manager ListTypes)
        out_has 'ext4'; out_has 'squashfs'; out_has 'mirror'
        assert_equal "$(as_user $user busctl "$A" call org.fused1 /org/fused1 org.fused1.Manager ListMounts)" 'aa{sv} 0'
done
expect_status 1 busctl "$A" call org.fused1 /org/fused1 org.fused1.Manager GetMount t 17
expect_status 1 busctl "$A" call org.fused1 /org/fused1 org.fused1.Manager Unmount tb 17 false
out_has 'mount'
OUT=$(busctl "$A" get-property org.fused1 /org/fused1 org.fused1.Manager Version)
out_has '^s "[0-9.]+"$'
