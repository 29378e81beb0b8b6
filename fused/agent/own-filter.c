/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent's own filter, written by hand so that a static program of libc alone can have one: what the loop and
 * answer.c call, and death for anything else. */

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCHITECTURE AUDIT_ARCH_RISCV64
#else
#error "no audit architecture for the agent's filter"
#endif

static const uint32_t calls[] = {
        __NR_ppoll, __NR_read, __NR_write, __NR_wait4, __NR_kill, __NR_exit_group, __NR_restart_syscall,
        __NR_process_vm_readv, __NR_process_vm_writev, __NR_newfstatat, __NR_fstat, __NR_statx,
        __NR_lseek, __NR_ftruncate,
};

static const uint32_t requests[] = {
        (uint32_t) SECCOMP_IOCTL_NOTIF_RECV,
        (uint32_t) SECCOMP_IOCTL_NOTIF_SEND,
        (uint32_t) SECCOMP_IOCTL_NOTIF_ID_VALID,
        (uint32_t) SECCOMP_IOCTL_NOTIF_ADDFD,
};

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)

int own_filter_install(void) {
        struct sock_filter code[8 + 2 * (ELEMENTSOF(calls) + ELEMENTSOF(requests))];
        struct sock_fprog program = {.filter = code};
        unsigned short n = 0;

#define ADD(...) (code[n++] = (struct sock_filter) __VA_ARGS__)
        ADD(LOAD(arch));
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0));
        ADD(RETURN(SECCOMP_RET_KILL_PROCESS));
        ADD(LOAD(nr));
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1));
                ADD(RETURN(SECCOMP_RET_ALLOW));
        }
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 1, 0));
        ADD(RETURN(SECCOMP_RET_KILL_PROCESS));
        ADD(LOAD(args[1])); /* the low half, on the little-endian architectures above; the kernel takes 32 bits too */
        for (size_t i = 0; i < ELEMENTSOF(requests); i++) {
                ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, requests[i], 0, 1));
                ADD(RETURN(SECCOMP_RET_ALLOW));
        }
        ADD(RETURN(SECCOMP_RET_KILL_PROCESS));
#undef ADD
        program.len = n;
        return RET_NERRNO((int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}
