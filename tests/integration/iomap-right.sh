#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The right to fuse-iomap, where the kernel has it: the broker has CAP_SYS_RAWIO to mark devices of types with Iomap=yes, and who mounts has it no
# more, whoever the caller is: the kernel takes the mounting process's for a mark.
# TIMEOUT: 60
. "$TOP/tests/lib/lib.sh"
mkdir "$T/params" "$T/mnt"
echo Y >"$T/params/enable_iomap" # as such a kernel has it
mount --bind "$T/params" /sys/module/fuse/parameters
at_end 'is_mounted /sys/module/fuse/parameters && umount /sys/module/fuse/parameters'
use_program hostile-service
use_type hostile-service BEHAVIOUR=ignore-init plain-type
use_type hostile-service BEHAVIOUR=ignore-init iomap-type
sed -i '/^HandOver=/aIomap=yes' "$T/policy/types/iomap-type.conf"
start_fused

has_rawio() { [ $((0x$(awk '/^CapEff/ {e = $2} END {print e}' "/proc/$1/status") >> 17 & 1)) -eq 1 ]; }
workers() { # the broker's children that are neither the manager nor a server
        local p
        for p in $(cat "/proc/$FUSED_PID/task/"*"/children"); do
                if [ "$(cat "/proc/$p/comm")" = fused ] && [ "$(awk '/^Uid/ {print $2}' "/proc/$p/status")" = "$1" ]; then echo "$p"; fi
        done
}
a_server() { [ -n "$(server_pids)" ]; } # is started when the FUSE device is open
has_rawio "$FUSED_PID" || fail "the broker could mark no device"
for uid in 0 $ALICE; do
        for type in plain-type iomap-type; do
                say "$type for user $uid"
                mkdir -p "$T/mnt-$uid"; chown "$uid" "$T/mnt-$uid"
                fusectl_as "$uid" mount "$type" none "$T/mnt-$uid" >"$T/out" 2>&1 & mounting=$!
                wait_for "the server" 10 a_server
                workers=$(workers "$uid")
                [ -n "$workers" ] || fail "nobody mounts"
                for p in $workers; do ! has_rawio "$p" || fail "worker $p of $type has CAP_SYS_RAWIO"; done
                ! wait $mounting || fail "it was mounted"
                wait_for "the end of the server" 10 no_servers
        done
done
umount /sys/module/fuse/parameters
stop_fused

say "a kernel without it: the broker has no such right"
mv "$T/params/enable_iomap" "$T/params/other"
start_fused
! has_rawio "$FUSED_PID" || [ -e /sys/module/fuse/parameters/enable_iomap ] || fail "it is of no use here"
