# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Rootless containers of user $ALICE. Sourced after lib.sh by the tests that need them.
#
# The engines run in a mount namespace of their own, where alice has a name, a range of subordinate ids, and a host with a
# unified cgroup hierarchy, which crun insists on; there the containers have a root file system of the host's own programs.

SUBORDINATE=500000 # uid 1 of a container is this one on the host
CONTAINER_ROOT=$T/root
CONTAINER_HOME=$T/containers

# A root directory of Debian's programs and the staged fusectl, with what these are linked with.
make_container_root() { # [PROGRAM...]
        local file
        mkdir -p "$CONTAINER_ROOT"/{proc,sys,dev,tmp,etc,mnt,src,run/fused,usr/bin,usr/lib}
        for file in bin sbin lib; do ln -s "usr/$file" "$CONTAINER_ROOT/$file"; done
        ln -s usr/lib "$CONTAINER_ROOT/lib64"
        for file in bash sh cat ls sleep grep id stat touch mknod mount "$@"; do copy_program "$(realpath "$(command -v "$file")")" "/usr/bin/$(basename "$file")"; done
        copy_program "$STAGE/bin/fusectl" /usr/bin/fusectl
        copy_program "$STAGE/libexec/fused/bin/fusermount3" /usr/bin/fusermount3
        echo content >"$CONTAINER_ROOT/src/file"
        chown -R $ALICE:$ALICE "$CONTAINER_ROOT"
}
copy_program() { # FILE AS
        local library
        cp "$1" "$CONTAINER_ROOT$2"
        ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
                [ -e "$CONTAINER_ROOT/usr/lib/$(basename "$library")" ] || cp -L "$library" "$CONTAINER_ROOT/usr/lib/"
        done
        if ldd "$1" | grep -q 'not found'; then fail "$1 misses a library"; fi
}

start_engine_place() {
        install -d -o $ALICE -g $ALICE -m 700 "$CONTAINER_HOME" "$CONTAINER_HOME/run"
        sed "\$a rootless:x:$ALICE:$ALICE::$CONTAINER_HOME:/bin/sh" /etc/passwd >"$T/passwd"
        sed "\$a rootless:x:$ALICE:" /etc/group >"$T/group"
        echo "rootless:$SUBORDINATE:65536" >"$T/subid"
        touch /etc/subuid /etc/subgid
        unshare --mount --propagation private sleep 170 &
        ENGINE_PLACE=$!
        at_end end_engine_place
        wait_for "the engine's mount namespace" 5 engine_place_is_there
        # shellcheck disable=SC2016
        nsenter --target $ENGINE_PLACE --mount sh -euc 'mount --make-rshared /; mount -t cgroup2 none /sys/fs/cgroup
                mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/group" /etc/group
                mount --bind "$0/subid" /etc/subuid; mount --bind "$0/subid" /etc/subgid' "$T"
}
engine_place_is_there() { [ "$(cat "/proc/$ENGINE_PLACE/comm")" = sleep ] && [ "$(readlink "/proc/$ENGINE_PLACE/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ]; }
end_engine_place() { # podman leaves a process that keeps its user namespace
        local pause="$CONTAINER_HOME/run/libpod/tmp/pause.pid"
        [ ! -f "$pause" ] || kill "$(cat "$pause")" 2>/dev/null
        kill "$ENGINE_PLACE"
}
as_rootless() { # COMMAND...: alice there, an ordinary login
        nsenter --target "$ENGINE_PLACE" --mount -- setpriv --reuid $ALICE --regid $ALICE --clear-groups --inh-caps=-all --reset-env -- \
                env HOME="$CONTAINER_HOME" XDG_RUNTIME_DIR="$CONTAINER_HOME/run" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
# podman_run [OPTION...] -- COMMAND...: with the control socket's directory and nothing else of the host's.
podman_run() {
        local options=()
        while [ "$1" != -- ]; do options+=("$1"); shift; done
        shift
        as_rootless podman --runtime crun --cgroup-manager=cgroupfs --events-backend=none run --rm --network none --cgroups=disabled \
                -v "$T/run:/run/fused" "${options[@]}" --rootfs "$CONTAINER_ROOT" "$@"
}
# A bundle for crun that runs COMMAND... as the container's root, without any capability.
make_bundle() { # DIRECTORY COMMAND...
        local directory=$1
        shift
        install -d -o $ALICE -g $ALICE "$directory"
        (cd "$directory" && as_rootless sh -c "cd '$directory' && crun spec --rootless")
        python3 - "$directory/config.json" "$CONTAINER_ROOT" "$T/run" "$@" <<'PY'
import json, sys
path, root, run, *command = sys.argv[1:]
with open(path) as f:
    c = json.load(f)
c["root"] = {"path": root, "readonly": False}
c["process"].update(args=command, terminal=False, capabilities={})
c["mounts"] = [m for m in c["mounts"] if m["destination"] not in ("/sys", "/sys/fs/cgroup")]
c["mounts"].append({"destination": "/run/fused", "type": "none", "source": run, "options": ["bind"]})
with open(path, "w") as f:
    json.dump(c, f)
PY
}
