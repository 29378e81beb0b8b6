# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian packages for building, testing and the demo, and how to get those that are missing. Sourced by test.sh and demo.sh.

PACKAGES_BUILD=(gcc libc6-dev linux-libc-dev meson ninja-build pkg-config libsystemd-dev libseccomp-dev libcap-dev libeconf-dev
        libfuse3-dev libjson-c-dev libcmocka-dev libbpf-dev libext2fs-dev comerr-dev libssl-dev clang scdoc python3)
PACKAGES_RUN=(fuse2fs e2fsprogs squashfuse util-linux mount)
PACKAGES_TEST=(squashfs-tools fuse3 sshfs openssh-sftp-server systemd dbus iproute2 strace shellcheck diffutils findutils coreutils procps git podman crun uidmap zsh fio)

# install_packages NAME...: only what is missing; the lock is waited for, the network gets three attempts.
install_packages() {
        local name missing=() attempt
        for name; do
                dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q ' installed$' || missing+=("$name")
        done
        [ ${#missing[@]} -gt 0 ] || return 0
        echo "installing: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        for attempt in 1 2 3; do
                if apt-get -qq -o DPkg::Lock::Timeout=120 update </dev/null &&
                        apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" </dev/null >/dev/null; then
                        return 0
                fi
                echo "apt-get failed (attempt $attempt of 3)" >&2
                sleep $((attempt * 5))
        done
        return 1
}

# Where to build: beside the sources, unless unprivileged processes cannot come there (a home directory of mode 0700, say): the
# policy reader, the servers' users and the tests' users must reach the installed programs.
build_place() { # DIRECTORY
        if setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$1"; then echo "$1"; else
                local place
                place=/var/tmp/fused-build-$(cksum <<<"$1" | cut -d' ' -f1)
                install -d -m 755 "$place"
                echo "$place"
        fi
}
