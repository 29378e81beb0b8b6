#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 120
# ext4-map: POSIX ACLs are what they are on the kernel's ext4: after chmod, for new files, and for who may do what.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/ext4-twins.sh"
start_fused

results() { # DIRECTORY: what each access comes to
        python3 - "$1" <<'PY'
import errno, itertools, os, struct, sys
os.chdir(sys.argv[1])
os.umask(0)
ANY = 0xffffffff
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
def acl(*entries): return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
def show(value): return [struct.unpack("<HHI", value[i:i + 8]) for i in range(4, len(value), 8)]
def attempt(f, *args):
    try: return f(*args) or 0
    except OSError as e: return errno.errorcode[e.errno]
def as_user(uid, gid, groups, f, *args):
    pid = os.fork()
    if pid == 0:
        os.setgroups(groups); os.setgid(gid); os.setuid(uid)
        r = attempt(f, *args)
        os._exit(0 if not isinstance(r, str) else getattr(errno, r))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(code, code)
def opens(name):  # who gets in: its owner, somebody named, somebody of its group, of a named group, anybody
    for uid, gid in (1000, 1000), (1001, 1001), (1002, 2000), (1003, 3000), (1004, 1004):
        print("  ", name, "opened by", uid, [as_user(uid, gid, [], lambda m=m: os.close(os.open(name, m))) for m in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)])
def state(name):
    s = os.stat(name)
    try: a = show(os.getxattr(name, "system.posix_acl_access"))
    except OSError as e: a = errno.errorcode[e.errno]
    print("  ", name, oct(s.st_mode), s.st_uid, s.st_gid, a)

full = acl((USER_OBJ, 7, ANY), (USER, 6, 1001), (GROUP_OBJ, 5, ANY), (GROUP, 7, 3000), (MASK, 7, ANY), (OTHER, 1, ANY))
masked = acl((USER_OBJ, 7, ANY), (USER, 7, 1001), (GROUP_OBJ, 7, ANY), (MASK, 0, ANY), (OTHER, 0, ANY))
plain = acl((USER_OBJ, 6, ANY), (GROUP_OBJ, 4, ANY), (OTHER, 0, ANY))

print("a mode given after an ACL counts for both")
for k, (a, mode) in enumerate(itertools.product((full, masked, plain), (0o640, 0o600, 0o670, 0o777, 0o2750, 0))):
    name = f"mode{k}"
    with open(name, "w") as f: f.write("text")
    os.chown(name, 1000, 2000)
    os.setxattr(name, "system.posix_acl_access", a)
    os.chmod(name, mode)
    state(name)
    opens(name)
os.mkdir("dir"); os.setxattr("dir", "system.posix_acl_access", full); os.setxattr("dir", "system.posix_acl_default", full)
os.chmod("dir", 0o700); state("dir")
print("  ", show(os.getxattr("dir", "system.posix_acl_default")))

print("an ACL takes set-group-id from who is not of the group")
for k, (uid, gid, a) in enumerate(itertools.product((0, 1000), (2000, 1000), (full, plain))):
    for kind in "file", "dir":
        name = f"set-id-{kind}{k}"
        os.mkdir(name) if kind == "dir" else open(name, "w").close()
        os.chown(name, 1000, 2000); os.chmod(name, 0o6770)
        print("  ", "setfacl by", uid, gid, as_user(uid, gid, [], os.setxattr, name, "system.posix_acl_access", a))
        state(name)
        print("  ", "and of its own", as_user(uid, gid, [], os.removexattr, name, "system.posix_acl_access"))
        state(name)
name = "set-id-default"; os.mkdir(name); os.chown(name, 1000, 2000); os.chmod(name, 0o2770)
print("  ", as_user(1000, 1000, [], os.setxattr, name, "system.posix_acl_default", full)); state(name)

print("and what is inherited")
for k, mode in enumerate((0o666, 0o600, 0o777)):
    os.close(os.open(f"dir/file{k}", os.O_CREAT | os.O_WRONLY, mode)); state(f"dir/file{k}")
    os.mkdir(f"dir/dir{k}", mode); state(f"dir/dir{k}"); print("  ", show(os.getxattr(f"dir/dir{k}", "system.posix_acl_default")))
PY
}

for options in "-I 256" "-I 128 -b 1024 -O ^extents,^64bit"; do
        say "$options"
        # shellcheck disable=SC2086
        make_twins 64M $options
        mount_twins
        same_on_twins results
        umount_twins
done
