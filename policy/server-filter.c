/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The seccomp program of a server, made from rows by libseccomp in fused-policy, so that the broker only hands it to
 * the kernel.
 *
 *   denied     a call that no FUSE server needs and that programs may try: EPERM, which they understand
 *   allowed    what a server on libfuse may call
 *   notified   hand-over fd: answered by the agent (policy/notified.h)
 *   the rest   ENOSYS: libraries take the older way, and a call that is invented tomorrow is refused today
 */

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <linux/hdreg.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "policy/load.h"
#include "policy/notified.h"

static const char *const denied[] = {
        /* mounts and namespaces */
        "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount",
        "open_tree", "mount_setattr", "unshare", "setns",
        /* other processes */
        "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise",
        /* the kernel */
        "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "init_module",
        "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "syslog",
        "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "settimeofday", "clock_settime",
        "clock_adjtime", "adjtimex", "iopl", "ioperm", "lookup_dcookie", "open_by_handle_at", "fanotify_init",
        "vhangup", "nfsservctl", "personality", "seccomp",
        /* keys */
        "keyctl", "add_key", "request_key",
        /* sockets: what a server has was given to it */
        "socket", "connect", "bind", "listen", "accept", "accept4",
        /* ids */
        "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid",
        "capset",
        /* programs: the launcher's own execveat() is a row of its own below */
        "execve",
};

static const char *const allowed[] = {
        "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
        "_llseek", "open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "fcntl",
        "fcntl64", "flock", "stat", "lstat", "fstat", "stat64", "lstat64", "fstat64", "newfstatat", "fstatat64",
        "statx", "statfs", "fstatfs", "statfs64", "fstatfs64", "access", "faccessat", "faccessat2", "readlink",
        "readlinkat", "getdents", "getdents64", "getcwd", "chdir", "fchdir", "umask", "mkdir", "mkdirat", "rmdir",
        "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mknod",
        "mknodat", "chmod", "fchmod", "fchmodat", "chown", "lchown", "fchown", "fchownat", "utime", "utimes",
        "utimensat", "futimesat", "truncate", "ftruncate", "truncate64", "ftruncate64", "fallocate", "fsync",
        "fdatasync", "sync", "syncfs", "sync_file_range", "fadvise64", "readahead", "sendfile", "splice", "tee",
        "vmsplice", "copy_file_range", "getxattr", "lgetxattr", "fgetxattr", "setxattr", "lsetxattr", "fsetxattr",
        "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr", "memfd_create",
        "name_to_handle_at", "pipe", "pipe2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime",
        "timerfd_gettime", "signalfd", "signalfd4", "poll", "ppoll", "select", "_newselect", "pselect6", "epoll_create",
        "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "nanosleep", "clock_nanosleep",
        "clock_gettime", "clock_getres", "gettimeofday", "time", "futex", "futex_waitv", "restart_syscall",
        "socketpair", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto", "sendmsg", "sendmmsg",
        "recvfrom", "recvmsg", "recvmmsg", "shutdown", "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect",
        "madvise", "msync", "mlock", "mlock2", "munlock", "mincore", "mbind", "membarrier", "fork", "vfork", "exit",
        "exit_group", "wait4", "waitid", "waitpid", "kill", "tgkill", "tkill", "pidfd_open", "pidfd_send_signal",
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigreturn", "rt_sigpending", "rt_sigtimedwait",
        "rt_sigsuspend", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "alarm", "setitimer", "getitimer",
        "timer_create", "timer_settime", "timer_gettime", "timer_delete", "timer_getoverrun", "pause", "getpid",
        "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgid",
        "getpgrp", "getsid", "setsid", "setpgid", "capget", "arch_prctl", "set_tid_address", "set_robust_list",
        "get_robust_list", "rseq", "uname", "sysinfo", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64", "getrusage",
        "times", "getpriority", "setpriority", "sched_yield", "sched_getaffinity", "sched_setaffinity",
        "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu",
        "getrandom", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
};

static const char *const notified[] = {
#define ROW(name, directory, path) #name,
        NOTIFIED_SYSCALLS(ROW)
#undef ROW
};

/* Calls that are let through with certain arguments only. */
static const unsigned clone_new[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                     CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

static const int prctls[] = {
        PR_SET_NAME,        PR_GET_NAME,      PR_SET_DUMPABLE,     PR_GET_DUMPABLE,
        PR_SET_PDEATHSIG,   PR_GET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
        PR_GET_SECCOMP,     PR_CAPBSET_READ,  PR_SET_TIMERSLACK,   PR_GET_TIMERSLACK,
        PR_SET_THP_DISABLE, PR_SET_VMA,       PR_GET_KEEPCAPS,     PR_GET_SECUREBITS,
};

#define IOC_FIEMAP 0xC020660BU        /* linux/fiemap.h */
#define IOC_GETFLAGS 0x80086601U      /* FS_IOC_GETFLAGS */
#define IOC_SETFLAGS 0x40086602U
static const unsigned ioctls[] = {
        FUSE_DEV_IOC_CLONE, FIONREAD,      FIONBIO,      FIOCLEX,   FIONCLEX,     TCGETS,
        IOC_FIEMAP,         IOC_GETFLAGS,  IOC_SETFLAGS, FICLONE,   FICLONERANGE, FS_IOC_FSGETXATTR,
        FS_IOC_FSSETXATTR,  BLKGETSIZE,    BLKGETSIZE64, BLKSSZGET, BLKPBSZGET,   BLKIOMIN,
        BLKIOOPT,           BLKALIGNOFF,   BLKROGET,     BLKFLSBUF, BLKDISCARD,   BLKZEROOUT,
        BLKDISCARDZEROES,   BLKROTATIONAL, HDIO_GETGEO,
};

/* With Iomap=yes. The kernel asks for no privilege: the FUSE device is that of this mount alone, and one without fuse-iomap answers ENOTTY. */
static const unsigned iomap_ioctls[] = {KERNEL_IOMAP_SET_BLOCKSIZE, KERNEL_IOMAP_SET_BLOCKSIZE_OLD, KERNEL_IOMAP_SET_NOFS};

static void filter_freep(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

static bool in_list(const char *const *list, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(list[i], name) == 0)
                        return true;
        return false;
}

/* '+', '-' or 0: what the type says about this call. */
static char said(char *const *calls, size_t n, const char *name) {
        for (size_t i = n; i-- > 0;)
                if (strcmp(calls[i] + 1, name) == 0)
                        return calls[i][0];
        return 0;
}

static int add(scmp_filter_ctx filter, uint32_t action, const char *name) {
        int number = seccomp_syscall_resolve_name(name), r;

        if (number == __NR_SCMP_ERROR || number < 0)
                return 0; /* not on this architecture */
        r = seccomp_rule_add(filter, action, number, 0);
        return r == -EEXIST || r == -EACCES ? 0 : r; /* EACCES: the same as the default action */
}

static int add_clone(scmp_filter_ctx filter, bool iomap) {
        unsigned all = 0;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(clone_new); i++) {
                all |= clone_new[i];
                r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                     SCMP_A0(SCMP_CMP_MASKED_EQ, clone_new[i], clone_new[i]));
                if (r < 0)
                        return r;
        }
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, all, 0));
}

static int add_prctl(scmp_filter_ctx filter, bool iomap) {
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(prctls) && r >= 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                                     SCMP_A0_32(SCMP_CMP_EQ, (unsigned) prctls[i]));
        return r;
}

static int add_ioctls(scmp_filter_ctx filter, const unsigned *numbers, size_t n) {
        int r;

        for (size_t i = 0; i < n; i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1_32(SCMP_CMP_EQ, numbers[i]));
                if (r < 0 && r != -EEXIST)
                        return r;
        }
        return 0;
}

static int add_ioctl(scmp_filter_ctx filter, bool iomap) {
        int r = add_ioctls(filter, ioctls, ELEMENTSOF(ioctls));

        return r < 0 || !iomap ? r : add_ioctls(filter, iomap_ioctls, ELEMENTSOF(iomap_ioctls));
}

/* By a descriptor and no path: how the launcher starts the server after this filter is in force. The server could start
 * what is in its own root the same way, which is itself and its libraries. */
static int add_execveat(scmp_filter_ctx filter, bool iomap) {
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(execveat), 1, SCMP_A4_32(SCMP_CMP_EQ, AT_EMPTY_PATH));
}

static int add_arguments(scmp_filter_ctx filter, bool iomap, char *const *calls, size_t n_calls) {
        static const struct {
                const char *name;
                int (*add)(scmp_filter_ctx filter, bool iomap);
        } rows[] = {{"clone", add_clone}, {"prctl", add_prctl}, {"ioctl", add_ioctl}, {"execveat", add_execveat}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int r;
                if (said(calls, n_calls, rows[i].name))
                        continue; /* all arguments are permitted, or none */
                r = rows[i].add(filter, iomap);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_lists(scmp_filter_ctx filter, bool notify, char *const *calls, size_t n_calls) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(denied); i++) {
                bool is_notified = notify && in_list(notified, ELEMENTSOF(notified), denied[i]);
                if (is_notified || said(calls, n_calls, denied[i]) == '+')
                        continue;
                r = add(filter, SCMP_ACT_ERRNO(EPERM), denied[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(allowed); i++) {
                bool is_notified = notify && (in_list(notified, ELEMENTSOF(notified), allowed[i]) ||
                                              strcmp(allowed[i], "openat2") == 0);
                if (is_notified || said(calls, n_calls, allowed[i]) == '-')
                        continue; /* openat2: its flags are in memory; ENOSYS brings libraries to openat */
                r = add(filter, SCMP_ACT_ALLOW, allowed[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; notify && i < ELEMENTSOF(notified); i++) {
                r = add(filter, SCMP_ACT_NOTIFY, notified[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "+bpf" is for servers with mapping programs: whoever has a program's descriptor may run it, and that is all it may do. */
static int add_bpf(scmp_filter_ctx filter) {
        int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1, SCMP_A0_32(SCMP_CMP_EQ, BPF_PROG_TEST_RUN));

        return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(bpf), 1, SCMP_A0_32(SCMP_CMP_NE, BPF_PROG_TEST_RUN));
}

static int add_said(scmp_filter_ctx filter, bool notify, char *const *calls, size_t n_calls, const char **ret_unknown) {
        for (size_t i = 0; i < n_calls; i++) {
                const char *name = calls[i] + 1;
                int r;
                if (seccomp_syscall_resolve_name(name) == __NR_SCMP_ERROR) {
                        *ret_unknown = name;
                        return -ENOENT;
                }
                if (said(calls, n_calls, name) == '-' || (notify && in_list(notified, ELEMENTSOF(notified), name)))
                        continue; /* of "+x -x" the last counts */
                r = strcmp(name, "bpf") == 0 ? add_bpf(filter) : add(filter, SCMP_ACT_ALLOW, name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_known(const char *name) {
        return seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR && seccomp_syscall_resolve_name(name) >= 0;
}

void server_filter_names(bool notify, char *const *calls, size_t n_calls, server_filter_each_t each, void *userdata) {
        static const char *const by_argument[] = {"clone", "prctl", "ioctl", "execveat"};

        for (size_t i = 0; i < ELEMENTSOF(allowed); i++)
                if (is_known(allowed[i]) && said(calls, n_calls, allowed[i]) != '-' && !(notify && strcmp(allowed[i], "openat2") == 0))
                        each(userdata, allowed[i]);
        for (size_t i = 0; i < ELEMENTSOF(by_argument); i++)
                if (said(calls, n_calls, by_argument[i]) != '-')
                        each(userdata, by_argument[i]);
        for (size_t i = 0; i < n_calls; i++)
                if (said(calls, n_calls, calls[i] + 1) == '+' && is_known(calls[i] + 1))
                        each(userdata, calls[i] + 1);
        for (size_t i = 0; notify && i < ELEMENTSOF(notified); i++)
                if (is_known(notified[i]))
                        each(userdata, notified[i]);
}

/* libseccomp 2.5 can only export into a file. */
static int export_filter(scmp_filter_ctx filter, void **ret, size_t *ret_n) {
        _cleanup_fd_ int fd = -EBADF;
        void *code _cleanup_free_ = NULL;
        struct stat st;
        int r;

        fd = RET_NERRNO(memfd_create("filter", MFD_CLOEXEC));
        if (fd < 0)
                return fd;
        r = seccomp_export_bpf(filter, fd);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size == 0 || st.st_size % (off_t) sizeof(struct sock_filter) != 0 ||
            st.st_size > (off_t) (POLICY_FILTER_MAX * sizeof(struct sock_filter)))
                return -E2BIG;
        code = malloc((size_t) st.st_size);
        if (!code)
                return -ENOMEM;
        if (pread(fd, code, (size_t) st.st_size, 0) != st.st_size)
                return -EIO;
        *ret = TAKE_PTR(code);
        *ret_n = (size_t) st.st_size / sizeof(struct sock_filter);
        return 0;
}

int server_filter_build(bool notify, bool iomap, char *const *calls, size_t n_calls, void **ret_filter, size_t *ret_n,
                        const char **ret_unknown) {
        _cleanup_(filter_freep) scmp_filter_ctx filter = NULL;
        int r;

        /* What this kernel can do is asked where it is used; the program is only compiled here. */
        if (seccomp_api_get() < 5)
                (void) seccomp_api_set(5);
        filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        if (!filter)
                return -ENOMEM;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: looked up on every call of every server */
        if (r < 0)
                return r;
        r = add_lists(filter, notify, calls, n_calls);
        if (r < 0)
                return r;
        r = add_said(filter, notify, calls, n_calls, ret_unknown);
        if (r < 0)
                return r;
        r = add_arguments(filter, iomap, calls, n_calls);
        if (r < 0)
                return r;
        return export_filter(filter, ret_filter, ret_n);
}
