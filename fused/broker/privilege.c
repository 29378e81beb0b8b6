/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's privilege, as two arrays. See privilege.h.
 *
 * A seccomp filter is inherited by everything the broker starts, so this list is the union of what the broker, its
 * workers, the manager, the agent and any server may call; each of those narrows it further for itself. What nobody here
 * needs is refused to all of them at once: modules, kexec, ptrace, keyrings, io_uring, perf, swap, clocks, reboot. */

#include "broker/privilege.h"

#include <seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/kernel.h"

const cap_value_t broker_capabilities[] = {
        CAP_SYS_ADMIN,    /* mount API, namespaces, FUSE ioctls */
        CAP_SYS_CHROOT,   /* setns() into a mount namespace */
        CAP_SYS_PTRACE,   /* setns() by the pidfd of another user's process */
        CAP_SETUID,       /* user namespace maps, ids of manager and servers */
        CAP_SETGID,
        CAP_SETPCAP,      /* dropping the children's bounding set */
        CAP_SYS_RESOURCE, /* limits of servers, OOM order; used where there */
        CAP_DAC_OVERRIDE, /* device nodes, fusectl files of other users */
        CAP_KILL,         /* ending servers */
        CAP_BPF,          /* these two for one child: it loads mapping programs, and has no other */
        CAP_PERFMON,
        CAP_SYS_RAWIO,    /* marking a FUSE device for fuse-iomap (Iomap= of a type); only where the kernel has it */
        CAP_CHOWN,        /* /proc files of a fresh user namespace belong to nobody until mapped */
};
const size_t n_broker_capabilities = ELEMENTSOF(broker_capabilities);

static const char *const allowed[] = {
        /* descriptors and files */
        "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "open", "openat",
        "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "flock", "ioctl", "lseek", "_llseek",
        "stat", "lstat", "fstat", "newfstatat", "fstatat64", "statx", "statfs", "fstatfs", "statfs64", "fstatfs64", "access",
        "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getdents", "getcwd", "chdir", "fchdir", "umask",
        "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
        "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utimensat", "truncate",
        "ftruncate", "fallocate", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "fadvise64", "readahead", "sendfile", "splice",
        "tee", "vmsplice", "copy_file_range", "getxattr", "lgetxattr", "fgetxattr", "setxattr", "lsetxattr", "fsetxattr", "listxattr",
        "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr", "memfd_create", "name_to_handle_at",
        "pipe", "pipe2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd", "signalfd4",
        "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
        /* several transfers at the same time, for servers that map */
        "io_setup", "io_submit", "io_getevents", "io_destroy",
        /* waiting */
        "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
        "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "futex", "futex_waitv", "restart_syscall",
        /* sockets: AF_UNIX only in practice; servers have none */
        "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt",
        "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg", "shutdown",
        /* memory */
        "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "msync", "mlock", "mlock2", "munlock", "mincore", "mbind", "membarrier",
        /* processes, ids, signals */
        "clone", "clone3", "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "kill", "tgkill", "tkill",
        "pidfd_open", "pidfd_send_signal", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
        "rt_sigsuspend", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "alarm", "setitimer", "getitimer", "timer_create",
        "timer_settime", "timer_delete", "pause", "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid",
        "getresgid", "getgroups", "getpgid", "getpgrp", "getsid", "setsid", "setpgid", "setuid", "setgid", "setresuid", "setresgid",
        "setfsuid", "setfsgid", "setgroups", "capget", "capset", "prctl", "arch_prctl", "set_tid_address", "set_robust_list",
        "get_robust_list", "rseq", "uname", "sysinfo", "getrlimit", "setrlimit", "prlimit64", "ugetrlimit", "getrusage", "times",
        "getpriority", "setpriority", "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
        "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "getrandom", "personality",
        /* namespaces, mounts, confinement */
        "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree",
        "mount_setattr", "statmount", "listmount", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
        /* mapping programs: loaded by one child, run by servers */
        "bpf",
        /* the agent reads the names that its server asks for */
        "process_vm_readv", "process_vm_writev",
};

/* Calls that Debian 12's libseccomp has no name for; numbers are the same on every architecture since Linux 5.1. */
static const struct {
        const char *name;
        int number;
} numbered[] = {
        {"fchmodat2", 452}, /* Linux 6.6 */
        {"statmount", 457}, /* Linux 6.8 */
        {"listmount", 458},
};

static int number_of(const char *name) {
        int number = seccomp_syscall_resolve_name(name);

        if (number != __NR_SCMP_ERROR)
                return number;
        for (size_t i = 0; i < ELEMENTSOF(numbered); i++)
                if (__builtin_strcmp(numbered[i].name, name) == 0)
                        return numbered[i].number;
        return __NR_SCMP_ERROR;
}

static void filter_freep(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

static int filter_build(scmp_filter_ctx *ret) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = NULL;
        int r;

        /* Unknown calls get ENOSYS: libraries then take the older way, which is on the list. */
        filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        if (!filter)
                return -ENOMEM;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(allowed); i++) {
                int number = number_of(allowed[i]);
                if (number == __NR_SCMP_ERROR || number < 0)
                        continue; /* this architecture has none (open and stat on arm64, fstat64 on amd64, ...) */
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
                if (r < 0 && r != -EEXIST)
                        return r;
        }
        *ret = TAKE_PTR(filter);
        return 0;
}

int broker_filter_export(int fd) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = NULL;
        int r;

        r = filter_build(&filter);
        if (r < 0)
                return r;
        return seccomp_export_bpf(filter, fd);
}

static void caps_freep(cap_t *caps) {
        if (*caps)
                (void) cap_free(*caps);
}

bool broker_keeps(cap_value_t value) {
        if (value == CAP_SYS_RAWIO && access(KERNEL_IOMAP_SWITCH, F_OK) < 0)
                return false;
        for (size_t i = 0; i < n_broker_capabilities; i++)
                if (broker_capabilities[i] == value)
                        return true;
        return false;
}

static int drop_capabilities(void) {
        _cleanup_(caps_freep) cap_t have = NULL, want = NULL;
        int r;

        r = RET_NERRNO(cap_reset_ambient());
        if (r < 0)
                return r;
        for (cap_value_t value = 0; value <= CAP_LAST_CAP || CAP_IS_SUPPORTED(value); value++) {
                if (!CAP_IS_SUPPORTED(value) || broker_keeps(value))
                        continue;
                r = RET_NERRNO(cap_drop_bound(value));
                if (r < 0)
                        return r;
        }

        have = cap_get_proc();
        want = cap_init();
        if (!have || !want)
                return -errno;
        for (size_t i = 0; i < n_broker_capabilities; i++) {
                cap_flag_value_t set = CAP_CLEAR;
                if (!broker_keeps(broker_capabilities[i]))
                        continue;
                /* A container may lack some of them (CAP_SYS_RESOURCE often): what is missing fails where it is used. */
                if (cap_get_flag(have, broker_capabilities[i], CAP_PERMITTED, &set) < 0 || set == CAP_CLEAR)
                        continue;
                if (cap_set_flag(want, CAP_PERMITTED, 1, &broker_capabilities[i], CAP_SET) < 0 ||
                    cap_set_flag(want, CAP_EFFECTIVE, 1, &broker_capabilities[i], CAP_SET) < 0)
                        return -errno;
        }
        return RET_NERRNO(cap_set_proc(want));
}

int broker_drop_privilege(void) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = NULL;
        int r;

        r = drop_capabilities();
        if (r < 0)
                return r;
        r = RET_NERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        if (r < 0)
                return r;
        r = filter_build(&filter);
        if (r < 0)
                return r;
        return seccomp_load(filter);
}
