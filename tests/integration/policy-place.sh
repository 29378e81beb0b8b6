#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Rules by where the caller is: unit and cgroup, owner of its user namespace; and root of a user namespace is not root.
. "$TOP/tests/lib/lib.sh"
make_squashfs_image "$T/image"
chmod 644 "$T/image"
placed() { # NAME RULE-LINE...: squashfs with this one rule
        local name=$1
        shift
        mkdir -p "$T/policy/types"
        sed '/^\[Allow/,$d' "$STAGE/lib/fused/types/squashfs.conf" >"$T/policy/types/$name.conf"
        printf '[Allow it]\nSources=file\n' >>"$T/policy/types/$name.conf"
        printf '%s\n' "$@" >>"$T/policy/types/$name.conf"
}
placed unit 'Users=*' 'Units=fused-test-*.service other.service'
placed cgroup 'Users=*' 'Cgroups=/fused-test-slice'
placed rootonly 'Users=root'
placed admin 'Users=root' 'Administrator=yes' 'Options=suid'
placed hostonly 'Users=*' 'NamespaceOwners=host'
placed alices 'Users=*' "NamespaceOwners=$ALICE"
placed wrong 'Users=*' 'Cgroups=relative'
hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
mkdir -p "$hierarchy/fused-test-slice/fused-test-a.service" "$hierarchy/fused-test-b"
at_end rmdir "$hierarchy/fused-test-slice/fused-test-a.service" "$hierarchy/fused-test-slice" "$hierarchy/fused-test-b"
start_fused
mkdir "$T/mnt"
install -d -o $ALICE "$T/mnt-alice"
try() { "$@" >"$T/out" 2>&1; }
in_cgroup() { # PATH COMMAND...
        local cgroup=$1
        shift
        bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$hierarchy/$cgroup" "$@"
}
allowed() { # TYPE COMMAND-PREFIX...
        local type=$1
        shift
        try "$@" "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount "$type" "$T/image" "${POINT:-$T/mnt}" || fail "$type: refused to $*: $(cat "$T/out")"
        try "$@" "$STAGE/bin/fusectl" --runtime-directory "$T/run" umount "$(cat "$T/out")" || fail "$type: cannot be unmounted: $(cat "$T/out")"
}
refused() { # TYPE WORD COMMAND-PREFIX...
        local type=$1 word=$2
        shift 2
        if try "$@" "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount "$type" "$T/image" "${POINT:-$T/mnt}" $OPTIONS; then fail "$type: allowed to $*"; fi
        grep -q "\[$word\]" "$T/out" || fail "$type: another reason than $word: $(cat "$T/out")"
}
OPTIONS=
say "by unit"
allowed unit in_cgroup fused-test-slice/fused-test-a.service
refused unit caller in_cgroup fused-test-b
refused unit caller env
say "by cgroup, and what is below it"
allowed cgroup in_cgroup fused-test-slice
allowed cgroup in_cgroup fused-test-slice/fused-test-a.service
refused cgroup caller in_cgroup fused-test-b

say "root is root in the host's user namespace, and nobody special in another, whatever its number"
allowed rootonly env
refused rootonly no-rule unshare --user --map-users=0,0,1 --map-groups=0,0,1 --mount
allowed hostonly env
refused hostonly caller unshare --user --map-users=0,0,1 --map-groups=0,0,1 --mount
OPTIONS="-o suid"
refused admin no-rule unshare --user --map-users=0,0,1 --map-groups=0,0,1 --mount
OPTIONS=
POINT=$T/mnt-alice
as_alice() { setpriv --reuid $ALICE --regid $ALICE --clear-groups -- "$@"; }
say "by the owner of the user namespace"
alice_in_hers() { as_alice unshare --user --map-root-user --mount "$@"; }
# mount and unmount in one namespace
inside=$T/inside
cat >"$inside" <<EOF
#!/bin/sh
$STAGE/bin/fusectl --runtime-directory $T/run mount "\$1" $T/image $T/mnt-alice && cat $T/mnt-alice/file && $STAGE/bin/fusectl --runtime-directory $T/run umount $T/mnt-alice
EOF
chmod 755 "$inside"
try alice_in_hers "$inside" alices || fail "refused to alice: $(cat "$T/out")"
grep -q text "$T/out"
refused alices caller as_alice
refused hostonly caller alice_in_hers
allowed hostonly as_alice

say "explain says why, and a pattern that cannot match is a mistake"
expect_status 3 "$STAGE/bin/fusectl" --runtime-directory "$T/run" policy explain unit "$T/image"
out_has caller
fusectl types | grep -q 'wrong' || fail "the type with a mistake is not listed"
expect_status 3 "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount wrong "$T/image" "$T/mnt"
out_has 'Cgroups'
