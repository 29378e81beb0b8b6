#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# podman run --device fused.org/control=...: what fusectl cdi describes is in the container, and is not there without it.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/rootless.sh"
assert_equal "$("$STAGE/bin/fusectl" cdi)" "$(cat "$STAGE/etc/cdi/fused.json")" "the installed file"
assert_equal "$(json "[m['hostPath'] for m in d['devices'][1]['containerEdits']['mounts']]" <"$STAGE/etc/cdi/fused.json")" \
        "['/run/fused', '$STAGE/libexec/fused/bin/fusermount3']"
make_container_root squashfuse_ll
rm "$CONTAINER_ROOT/usr/bin/fusermount3"
make_squashfs_image "$CONTAINER_ROOT/src/squash"
chown -R $ALICE:$ALICE "$CONTAINER_ROOT/src"
start_engine_place
start_fused
install -d -m 755 "$T/cdi"
fusectl cdi >"$T/cdi/fused.json"
[ -d /etc/cdi ] || { mkdir /etc/cdi; at_end 'rmdir /etc/cdi'; }
nsenter --target "$ENGINE_PLACE" --mount mount --bind "$T/cdi" /etc/cdi
run() { # DEVICE COMMAND...: "" is none
        as_rootless podman --runtime crun --cgroup-manager=cgroupfs --events-backend=none run --rm --network none --cgroups=disabled \
                ${1:+--device "fused.org/control=$1"} --rootfs "$CONTAINER_ROOT" "${@:2}"
}

say "socket: the supervisor can be asked, and mounts"
OUT=$(run socket sh -euc 'fusectl mount squashfs /src/squash /mnt; cat /mnt/file; fusectl umount /mnt; test -e /usr/bin/fusermount3 || echo none' 2>&1)
out_has '^text$'; out_has '^none$'
say "without the device: nobody to ask"
OUT=$(run '' fusectl list 2>&1 || true)
out_has 'cannot connect'
say "all: fusermount3 as well, and neither can be written"
OUT=$(run all sh -uc 'fusermount3 --version; echo x >/usr/bin/fusermount3; mkdir /run/fused/x; touch /run/fused/y' 2>&1 || true)
out_has 'fusermount3 version'; out_has 'fusermount3: Read-only|fusermount3: Permission'; out_has "cannot touch.*(Read-only|Permission)"
say "a device that is not described"
OUT=$(run nonsense true 2>&1 || true)
out_has 'unresolvable|not found|no such|stat'
