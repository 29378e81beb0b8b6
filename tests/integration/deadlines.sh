#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A server that is silent: every state ends by its deadline, with the step in the message, and without leaving anything.
# TIMEOUT: 120
. "$TOP/tests/lib/lib.sh"
use_program hostile-fd
use_program hostile-service
use_type hostile-fd BEHAVIOUR=never-init fd-init
for step in $(behaviours hostile-service | grep '^silent:'); do use_type hostile-service BEHAVIOUR=$step "service-$(tr ':_' '--' <<<"${step,,}")"; done
mkdir "$T/mnt"
start_fused
for file in "$T"/policy/types/*.conf; do
        type=$(basename "$file" .conf)
        say "$type"
        started=$SECONDS
        expect_fusectl 1 mount "$type" none "$T/mnt"
        echo "$OUT"
        out_has 'deadline|time|answer|has passed'
        [ $((SECONDS - started)) -le 8 ] || fail "$type took $((SECONDS - started)) s"
        not_mounted "$T/mnt" || fail "$type: mounted"
done
