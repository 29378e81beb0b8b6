/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See confine.h. */

#include "program/confine.h"

#include <seccomp.h>
#include <sys/prctl.h>

static const char *const allowed[] = {
        "read", "pread64", "readv", "write", "writev", "close", "fstat", "newfstatat", "fcntl", "lseek", "dup", "openat", "access", "faccessat",
        "faccessat2", "readlink", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "futex", "getrandom", "rseq", "membarrier", "bpf",
        "sendmsg", "uname", "getpid", "gettid", "getuid", "geteuid", "prlimit64", "sysinfo", "clock_gettime", "rt_sigaction", "rt_sigprocmask",
        "rt_sigreturn", "sigaltstack", "tgkill", "exit", "exit_group", "sched_getaffinity", "getcwd",
};

DEFINE_CLEANUP(scmp_filter_ctx, releasep, seccomp_release)

int confine_loader(void) {
        _cleanup_(releasep) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int r = 0;

        if (!filter)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(allowed) && r >= 0; i++) {
                int number = seccomp_syscall_resolve_name(allowed[i]);
                if (number == __NR_SCMP_ERROR || number < 0)
                        continue;
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        }
        return r < 0 ? r : seccomp_load(filter);
}
