/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See confine.h. */

#include "program/confine.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <seccomp.h>
#include <sys/prctl.h>

static const char *const allowed[] = {
        "read", "pread64", "readv", "write", "writev", "close", "fstat", "newfstatat", "fcntl", "lseek", "dup", "dup3", "access", "faccessat",
        "faccessat2", "readlink", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "futex", "getrandom", "rseq", "membarrier", "capget",
        "capset", "sendmsg", "uname", "getpid", "gettid", "getuid", "geteuid", "prlimit64", "sysinfo", "clock_gettime", "rt_sigaction",
        "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "exit", "exit_group", "sched_getaffinity", "getcwd",
};

/* What libbpf and we ourselves do to load, try and tell of a program. No command that binds one to anything. */
static const struct {
        enum bpf_cmd command;
        uint32_t action;
} commands[] = {
        {BPF_BTF_LOAD, SCMP_ACT_ALLOW},
        {BPF_MAP_CREATE, SCMP_ACT_ALLOW},
        {BPF_MAP_UPDATE_ELEM, SCMP_ACT_ALLOW}, /* constants; the value of a struct_ops map */
        {BPF_MAP_FREEZE, SCMP_ACT_ALLOW},
        {BPF_PROG_LOAD, SCMP_ACT_ALLOW},
        {BPF_PROG_TEST_RUN, SCMP_ACT_ALLOW},
        {BPF_OBJ_GET_INFO_BY_FD, SCMP_ACT_ALLOW},
        {BPF_LINK_CREATE, SCMP_ACT_ERRNO(EBADF)}, /* libbpf 1.2 tries once it has given the value: as if there were no FUSE device */
};

DEFINE_CLEANUP(scmp_filter_ctx, releasep, seccomp_release)

static int add_commands(scmp_filter_ctx filter) {
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(commands) && r >= 0; i++)
                r = seccomp_rule_add(filter, commands[i].action, SCMP_SYS(bpf), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) commands[i].command));
        return r;
}

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
        if (r >= 0) /* to read, what is there */
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                     SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
        if (r >= 0)
                r = add_commands(filter);
        return r < 0 ? r : seccomp_load(filter);
}
