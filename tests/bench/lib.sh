# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the benches share: options, a directory and a mount namespace of their own, a supervisor in it. Sourced after set -eu.

bench_begin() { # arguments of the script
        TOP=$(realpath "$(dirname "$0")/../..")
        BUILD=$TOP/build-test SMOKE="" JSON=0
        while [ $# -gt 0 ]; do
                case $1 in
                --build) BUILD=$(realpath "$2"); shift 2 ;;
                --smoke) SMOKE=1; shift ;;
                --json) JSON=1; shift ;;
                *) echo "usage: $0 [--build DIR] [--smoke] [--json]" >&2; exit 2 ;;
                esac
        done
        STAGE=$BUILD/stage
        [ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
        D=$(mktemp -d /tmp/fused-bench.XXXXXX)
        chmod 755 "$D"
        FUSED_PID="" DRIVER_PID=""
        trap bench_end EXIT
        trap 'exit 143' INT TERM
        mkdir "$D/tree" "$D/mnt"
        echo text >"$D/tree/file"
}

bench_start_fused() {
        "$STAGE/sbin/fused" --runtime-directory "$D/run" --policy "$STAGE/lib/fused" --launcher embedded \
                --libexec-directory "$STAGE/libexec/fused" >"$D/fused.log" 2>&1 &
        FUSED_PID=$!
        for _ in $(seq 200); do
                "$STAGE/bin/fusectl" --runtime-directory "$D/run" types >/dev/null 2>&1 && return 0
                sleep 0.05
        done
        cat "$D/fused.log" >&2
        return 1
}

# In the background, as the shell acts on a signal only when what runs in front of it ends.
bench_drive() { # COMMAND...
        "$@" &
        DRIVER_PID=$!
        wait "$DRIVER_PID" || return
        DRIVER_PID=""
}

bench_end() {
        local status=$?
        trap - EXIT
        if [ -n "$DRIVER_PID" ]; then kill -TERM "$DRIVER_PID" 2>/dev/null; wait "$DRIVER_PID" || true; fi
        if [ -n "$FUSED_PID" ]; then kill -TERM "$FUSED_PID" 2>/dev/null; wait "$FUSED_PID" || status=1; fi
        awk -v d="$D/" 'index($5, d) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r point; do umount -l "$point"; done
        [ $status -eq 0 ] || tail -n 20 "$D/fused.log" >&2 || true
        rm -rf --one-file-system "$D"
        exit $status
}
