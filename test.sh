#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs what is needed (Debian 12, as root), builds fused twice (plain, and with address and undefined sanitizers) and
# runs every test. Prints one line per test and, at the end, "N passed, M failed, K skipped". Fails if M > 0.
set -u -o pipefail
cd "$(dirname "$0")" || exit 1
[ "$(id -u)" = 0 ] || { echo "test.sh: needs root (it mounts)" >&2; exit 1; }
TOP=$PWD
RESULTS=$(mktemp /tmp/fused-results.XXXXXX)
trap 'rm -f "$RESULTS"' EXIT
export FUSED_MUST_WORK=1 # nothing may be skipped for want of something that we install ourselves
# shellcheck source=tests/lib/packages.sh
. tests/lib/packages.sh
# shellcheck source=tests/lib/results.sh
. tests/lib/results.sh
PLACE=$(build_place "$TOP")
PLAIN=$PLACE/build-test
ASAN=$PLACE/build-asan

section() { printf '\n### %s (%d s)\n' "$*" $SECONDS; }

# What a run could leave on the host.
snapshot() {
        cut -d' ' -f5- /proc/self/mountinfo | sed 's/^/mount /'
        losetup -nO NAME,BACK-FILE 2>/dev/null | grep -F fused | sed 's/^/loop /'
        find /sys/fs/cgroup -maxdepth 4 -name 'fused-*' 2>/dev/null | sed 's/^/cgroup /'
        find /tmp /run -maxdepth 1 -name '*fused*' ! -path "$RESULTS*" 2>/dev/null | sed 's/^/path /'
        local p exe uid
        for p in /proc/[0-9]*; do
                exe=$(readlink "$p/exe" 2>/dev/null) || continue
                uid=$(stat -c %u "$p" 2>/dev/null) || continue
                case $exe in "$PLAIN"/* | "$ASAN"/*) echo "process ${p#/proc/} $exe" ;; esac
                if [ "$uid" -ge 1879048192 ] && [ "$uid" -le 1879113727 ]; then echo "process ${p#/proc/} uid $uid"; fi
        done
        true
}

build() { # DIR OPTION...
        local dir=$1
        shift
        if [ ! -f "$dir/build.ninja" ]; then
                meson setup "$dir" --prefix "$dir/stage" "$@" >"$dir.log" 2>&1 ||
                        { tail -n 40 "$dir.log"; rm -f "$dir.log"; return 1; }
                rm -f "$dir.log"
        fi
        ninja -C "$dir" --quiet && rm -rf "$dir/stage" && meson install -C "$dir" --no-rebuild --quiet >/dev/null
}

meson_tests() { # DIR LABEL OPTION...
        local dir=$1 label=$2
        shift 2
        rm -f "$dir/meson-logs/testlog.json"
        meson test -C "$dir" --no-rebuild --quiet "$@" >"$dir/meson-logs/console.txt" 2>&1
        if [ -s "$dir/meson-logs/testlog.json" ]; then
                /usr/bin/python3 tests/lib/meson-results.py "$label" "$dir/meson-logs/testlog.json" | tee -a "$RESULTS"
        else
                tail -n 20 "$dir/meson-logs/console.txt"
                result "fail $label/run (meson test wrote no results)"
        fi
}

section packages
install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}" "${PACKAGES_TEST[@]}" || { result "fail packages"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
before=$(snapshot | sort)

section build
if build "$PLAIN" -Dwerror=true; then result "pass build/plain"; else result "fail build/plain"; fi
# gcc's flow warnings know nothing of the sanitizers' branches: it is the plain build that must be without warnings
if build "$ASAN" -Db_sanitize=address,undefined -Db_lundef=false; then result "pass build/asan"; else result "fail build/asan"; fi

section lint
part lint printed tests/lint/run

export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
section "unit tests, fuzz corpora, escape attempts"
[ ! -f "$PLAIN/build.ninja" ] || meson_tests "$PLAIN" plain
[ ! -f "$ASAN/build.ninja" ] || meson_tests "$ASAN" asan

section "integration tests"
part integration tests/run --build "$PLAIN" --results "$RESULTS" --label integration
section "integration tests with sanitizers"
# the processes under test are confined by their own filters, in which no leak checker can run
ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 part integration-asan tests/run --build "$ASAN" --results "$RESULTS" --label integration-asan --subset asan

section "on a machine with systemd"
part rigs tests/rigs/run --build "$PLAIN" --results "$RESULTS"
section "benchmarks, one round each"
part bench tests/bench/run --build "$PLAIN" --smoke --results "$RESULTS"

section "soak, a minute each"
part soak printed tests/soak/run --build "$PLAIN" --minutes 1

section demo
if ./demo.sh >"$PLAIN/demo.log" 2>&1; then result "pass demo"; else tail -n 60 "$PLAIN/demo.log"; result "fail demo"; fi

section leftovers
# What is new is left over; of mounts, one that is missing is wrong as well.
after=$(snapshot | sort)
left=$(comm -13 <(echo "$before") <(echo "$after"); comm -23 <(grep '^mount ' <<<"$before") <(grep '^mount ' <<<"$after"))
if [ -z "$left" ]; then result "pass leftovers"; else echo "$left"; result "fail leftovers"; fi

passed=$(count pass) failed=$(count fail) skipped=$(count skip)
if [ "$failed" -gt 0 ]; then printf '\nfailed:\n'; grep '^fail ' "$RESULTS"; fi
printf '\n%d s\n' $SECONDS
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
