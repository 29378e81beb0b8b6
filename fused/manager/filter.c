/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See filter.h. Soft denials first, then permits. There is no way to a path, a new socket, another process or a new program
 * here: everything that the manager works with has been given to it as a descriptor. */

#include "manager/filter.h"

#include <seccomp.h>
#include <sys/prctl.h>

#define DENY(call) {call, FILTER_DENY}
#define ALLOW(call) {call, FILTER_ALLOW}

const FilterRow manager_filter_rows[] = {
        /* sd-event asks for the boot id, sd-bus for nothing that matters here; the C library for locales and time zones */
        DENY("open"), DENY("openat"), DENY("openat2"), DENY("stat"), DENY("lstat"), DENY("statx"), DENY("access"), DENY("faccessat"),
        DENY("faccessat2"), DENY("readlink"), DENY("readlinkat"), DENY("socket"), DENY("connect"),

        /* the sockets that it has been given, and what comes in through them */
        ALLOW("accept4"), ALLOW("recvmsg"), ALLOW("recvfrom"), ALLOW("recv"), ALLOW("sendmsg"), ALLOW("sendto"), ALLOW("send"),
        ALLOW("getsockopt"), ALLOW("setsockopt"), ALLOW("getsockname"), ALLOW("getpeername"), ALLOW("shutdown"),
        /* descriptors */
        ALLOW("read"), ALLOW("readv"), ALLOW("write"), ALLOW("writev"), ALLOW("close"), ALLOW("fcntl"), ALLOW("fcntl64"), ALLOW("fstat"),
        ALLOW("fstat64"), ALLOW("newfstatat"), ALLOW("fstatat64"), ALLOW("lseek"), ALLOW("_llseek"),
        /* the argument lists of servers */
        ALLOW("memfd_create"),
        /* waiting */
        ALLOW("epoll_create1"), ALLOW("epoll_ctl"), ALLOW("epoll_wait"), ALLOW("epoll_pwait"), ALLOW("epoll_pwait2"), ALLOW("poll"),
        ALLOW("ppoll"), ALLOW("ppoll_time64"), ALLOW("timerfd_create"), ALLOW("timerfd_settime"), ALLOW("timerfd_settime64"),
        ALLOW("restart_syscall"), ALLOW("clock_gettime"), ALLOW("clock_gettime64"), ALLOW("gettimeofday"), ALLOW("time"),
        /* memory */
        ALLOW("mmap"), ALLOW("mmap2"), ALLOW("munmap"), ALLOW("mremap"), ALLOW("mprotect"), ALLOW("madvise"), ALLOW("brk"), ALLOW("futex"),
        ALLOW("futex_time64"), ALLOW("getrandom"), ALLOW("rseq"),
        /* itself */
        ALLOW("getpid"), ALLOW("gettid"), ALLOW("getuid"), ALLOW("geteuid"), ALLOW("getgid"), ALLOW("getegid"), ALLOW("getrlimit"),
        ALLOW("ugetrlimit"), ALLOW("prlimit64"), ALLOW("rt_sigaction"), ALLOW("rt_sigprocmask"), ALLOW("rt_sigreturn"), ALLOW("sigreturn"),
        ALLOW("sigaltstack"), ALLOW("tgkill"), ALLOW("exit"), ALLOW("exit_group"),
#ifdef __SANITIZE_ADDRESS__
        /* the run-time library's reports and its search for leaks at exit */
        ALLOW("clone"), ALLOW("clone3"), ALLOW("wait4"), ALLOW("ptrace"), ALLOW("prctl"), ALLOW("sched_yield"), ALLOW("sched_getaffinity"),
        ALLOW("set_robust_list"), ALLOW("getcwd"), ALLOW("ioctl"), ALLOW("getppid"), ALLOW("dup"), ALLOW("pipe2"), ALLOW("uname"),
#endif
};
const size_t n_manager_filter_rows = ELEMENTSOF(manager_filter_rows);

static void release(scmp_filter_ctx *context) {
        if (*context)
                seccomp_release(*context);
}

static int build(scmp_filter_ctx context) {
        int r;

        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_manager_filter_rows; i++) {
                const FilterRow *row = &manager_filter_rows[i];
                int number = seccomp_syscall_resolve_name(row->name);

                if (number == __NR_SCMP_ERROR)
                        continue; /* newer than this libseccomp: nobody calls it either */
                r = seccomp_rule_add(context, row->action == FILTER_ALLOW ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES), number, 0);
                if (r < 0 && r != -EDOM) /* EDOM: not on this architecture */
                        return r;
        }
        return 0;
}

int manager_filter_load(void) {
        _cleanup_(release) scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int r;

        if (!context)
                return -ENOMEM;
        r = RET_NERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        if (r < 0)
                return r;
        r = build(context);
        return r < 0 ? r : seccomp_load(context);
}

int manager_filter_export(int fd) {
        _cleanup_(release) scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int r;

        if (!context)
                return -ENOMEM;
        r = build(context);
        return r < 0 ? r : seccomp_export_bpf(context, fd);
}
