/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probes of what else fused builds on. */

#include "client/doctor-probes.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"

static void answer(ProbeResult *result, ProbeState state, const char *format, ...) _printf_(3, 4);
static void answer(ProbeResult *result, ProbeState state, const char *format, ...) {
        va_list args;

        result->state = state;
        va_start(args, format);
        (void) vsnprintf(result->detail, sizeof result->detail, format, args);
        va_end(args);
}

bool probe_has_mount_rights(void) {
        uid_t uid = getuid();
        gid_t gid = getgid();
        char map[64];

        if (uid == 0)
                return true;
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return false;
        if (fd_write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny") < 0)
                return false;
        (void) snprintf(map, sizeof map, "0 %u 1", uid);
        if (fd_write_file_at(AT_FDCWD, "/proc/self/uid_map", map) < 0)
                return false;
        (void) snprintf(map, sizeof map, "0 %u 1", gid);
        return fd_write_file_at(AT_FDCWD, "/proc/self/gid_map", map) >= 0;
}

/* A program of two instructions, loaded and run by its descriptor: how mapping programs are run where the kernel has no
 * hooks for them. */
void probe_bpf(ProbeResult *result) {
        const struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
                                        {.code = BPF_JMP | BPF_EXIT}};
        union bpf_attr load = {
                .prog_type = BPF_PROG_TYPE_SYSCALL,
                .prog_flags = BPF_F_SLEEPABLE,
                .insns = (uint64_t) (uintptr_t) code,
                .insn_cnt = ELEMENTSOF(code),
                .license = (uint64_t) (uintptr_t) "GPL",
        };
        union bpf_attr run = {0};
        _cleanup_fd_ int fd = (int) RET_NERRNO(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));

        if (fd == -EPERM)
                return answer(result, PROBE_UNKNOWN, "needs root to tell");
        if (fd < 0)
                return answer(result, PROBE_NO, "a program cannot be loaded: %s", strerror(-fd));
        run.test.prog_fd = (uint32_t) fd;
        int r = (int) RET_NERRNO(syscall(SYS_bpf, BPF_PROG_TEST_RUN, &run, sizeof run));
        if (r < 0)
                return answer(result, PROBE_NO, "a syscall program loads, but does not run: %s", strerror(-r));
        answer(result, PROBE_YES, "a syscall program loads and runs");
}

/* A listener of our own, behind a filter that permits everything. To answer a notification that is not there is ENOENT
 * for a kernel that can add a descriptor and answer in one step, and EINVAL for one that does not know the flag. */
void probe_notification(ProbeResult *result) {
        struct sock_filter code = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = {.len = 1, .filter = &code};
        struct seccomp_notif_addfd add = {.flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = STDIN_FILENO};
        struct seccomp_notif_sizes sizes;
        _cleanup_fd_ int null_fd = -EBADF, fd = -EBADF;

        if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
                return answer(result, PROBE_NO, "%s", strerror(errno));
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return answer(result, PROBE_UNKNOWN, "no_new_privs: %s", strerror(errno));
        fd = (int) RET_NERRNO(
                syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
        if (fd < 0) /* EBUSY: who runs us has a listener already, and there can be one only */
                return answer(result, fd == -EBUSY ? PROBE_UNKNOWN : PROBE_NO, "no listener: %s", strerror(-fd));
        null_fd = RET_NERRNO(open("/dev/null", O_RDWR | O_CLOEXEC));
        add.srcfd = (uint32_t) null_fd;
        int r = RET_NERRNO(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
        if (null_fd < 0 || r != -ENOENT)
                return answer(result, r == -EINVAL ? PROBE_NO : PROBE_UNKNOWN, "SECCOMP_ADDFD_FLAG_SEND: %s",
                              r == -EINVAL ? "missing (before 5.14)" : strerror(r < 0 ? -r : EIO));
        answer(result, PROBE_YES, "notifications of %u bytes, SECCOMP_ADDFD_FLAG_SEND known", sizes.seccomp_notif);
}

void probe_landlock(ProbeResult *result) {
        int abi = (int) RET_NERRNO(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));

        if (abi < 0)
                answer(result, PROBE_NO, abi == -EOPNOTSUPP ? "built in, but not enabled (lsm=)" : "%s",
                       strerror(-abi));
        else
                answer(result, PROBE_YES, "ABI %d, %s", abi,
                       abi < 4 ? "files only" : abi < 6 ? "files and TCP" : "files, TCP, abstract sockets and signals");
}

void probe_pidfd(ProbeResult *result) {
        _cleanup_fd_ int fd = (int) RET_NERRNO(syscall(SYS_pidfd_open, getpid(), 0)), peer = -EBADF;
        socklen_t length = sizeof peer;
        int pair[2];

        if (fd < 0)
                return answer(result, PROBE_NO, "pidfd_open: %s", strerror(-fd));
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return answer(result, PROBE_UNKNOWN, "%s", strerror(errno));
        int r = RET_NERRNO(getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &peer, &length));
        fd_close_many(pair, 2);
        answer(result, r < 0 ? PROBE_NO : PROBE_YES, "pidfd_open works, SO_PEERPIDFD %s",
               r < 0 ? "is missing (before 6.5)" : "too");
}

void probe_mount_api(ProbeResult *result) {
        _cleanup_fd_ int fd = RET_NERRNO(fsopen("tmpfs", FSOPEN_CLOEXEC));

        if (fd == -EPERM && probe_has_mount_rights())
                fd = RET_NERRNO(fsopen("tmpfs", FSOPEN_CLOEXEC));
        if (fd == -EPERM)
                answer(result, PROBE_UNKNOWN, "needs root to tell");
        else
                answer(result, fd < 0 ? PROBE_NO : PROBE_YES, "fsopen: %s", fd < 0 ? strerror(-fd) : "works");
}

void probe_idmapped_mounts(ProbeResult *result) {
        struct mount_attr attributes = {0};
        /* A size of 0 is refused by whoever knows the call, before anything else is looked at. */
        int r = RET_NERRNO(mount_setattr(-1, "", AT_EMPTY_PATH, &attributes, 0));

        answer(result, r == -ENOSYS ? PROBE_NO : PROBE_YES, "mount_setattr %s",
               r == -ENOSYS ? "is missing (before 5.12)" : "is there; each file system decides for itself");
}

void probe_statmount(ProbeResult *result) {
        struct statx sx = {0};
        int r = (int) RET_NERRNO(syscall(KERNEL_NR_STATMOUNT, NULL, NULL, 0, 0));

        if (statx(AT_FDCWD, "/", AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, &sx) < 0)
                return answer(result, PROBE_UNKNOWN, "statx: %s", strerror(errno));
        bool unique = sx.stx_mask & STATX_MNT_ID_UNIQUE;
        answer(result, r != -ENOSYS && unique ? PROBE_YES : PROBE_NO, "statmount %s, unique mount ids %s",
               r == -ENOSYS ? "missing (before 6.8)" : "there", unique ? "there" : "missing (before 6.8)");
}

void probe_user_namespaces(ProbeResult *result) {
        static const struct {
                const char *path;
                char restricted; /* the value that keeps users without privilege from making one */
        } switches[] = {
                {"/proc/sys/kernel/unprivileged_userns_clone", '0'}, /* Debian's kernels */
                {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1'}, /* Ubuntu's */
        };
        bool is_root = getuid() == 0;
        char text[16];

        if (unshare(CLONE_NEWUSER) < 0)
                return answer(result, PROBE_NO, "%s (see /proc/sys/user/max_user_namespaces)", strerror(errno));
        for (size_t i = 0; i < ELEMENTSOF(switches); i++)
                if (fd_read_file_at(AT_FDCWD, switches[i].path, text, sizeof text) > 0 &&
                    text[0] == switches[i].restricted)
                        return answer(result, PROBE_NO, "%s, but %s keeps users from it",
                                      is_root ? "root may make one" : "this user may make one", switches[i].path);
        answer(result, PROBE_YES, "%s may make one", is_root ? "root" : "this user");
}

#define CGROUP2_MAGIC 0x63677270
#define CGROUP1_MAGIC 0x27e0eb

void probe_cgroups(ProbeResult *result) {
        static const char *const v2_places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
        static const char *const v1_places[] = {"memory", "pids", "cpu"};
        char v1[64] = "", controllers[128] = "";
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTSOF(v2_places) && !*controllers; i++) {
                char path[64];
                (void) snprintf(path, sizeof path, "%s/cgroup.controllers", v2_places[i]);
                if (statfs(v2_places[i], &fs) == 0 && fs.f_type == CGROUP2_MAGIC &&
                    fd_read_file_at(AT_FDCWD, path, controllers, sizeof controllers) >= 0)
                        controllers[strcspn(controllers, "\n")] = 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(v1_places); i++) {
                char path[64];
                (void) snprintf(path, sizeof path, "/sys/fs/cgroup/%s", v1_places[i]);
                if (statfs(path, &fs) == 0 && fs.f_type == CGROUP1_MAGIC)
                        (void) snprintf(v1 + strlen(v1), sizeof v1 - strlen(v1), " %s", v1_places[i]);
        }
        bool memory = strstr(controllers, "memory") || strstr(v1, "memory");
        answer(result, memory ? PROBE_YES : PROBE_NO, "version 2:%s%s; version 1:%s", *controllers ? " " : " none",
               controllers, *v1 ? v1 : " none");
}

/* How the broker hands the policy to a process that must not be able to change it. */
void probe_memfd_seals(ProbeResult *result) {
        _cleanup_fd_ int fd = RET_NERRNO(memfd_create("fused-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

        if (fd < 0)
                return answer(result, PROBE_NO, "memfd_create: %s", strerror(-fd));
        if (fcntl(fd, F_ADD_SEALS, seals) < 0)
                return answer(result, PROBE_NO, "it cannot be sealed: %s", strerror(errno));
        bool refused = write(fd, "x", 1) < 0 && errno == EPERM;
        answer(result, refused ? PROBE_YES : PROBE_NO, "a sealed memfd %s",
               refused ? "refuses writing" : "can still be written");
}
