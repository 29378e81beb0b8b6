/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which load takes which rights:
 *
 *   tables   CAP_BPF. Then a lookup stays within a table even where the processor runs ahead of its check
 *   sample   and CAP_PERFMON. It is run here and nowhere else, over tables that no server gets. Those of our own index an array on the stack (the
 *            sizes of the devices), which the verifier does not let pass without
 *   form     and CAP_PERFMON: the kernel asks for it for a program of type struct_ops, whatever that does. That it writes to no table, which
 *            would show a server what it may not see, is made sure of by load_protect_tables()
 *   run      CAP_BPF, where that does. It is what a server runs, over tables that it writes
 *
 * Without CAP_PERFMON the verifier follows what a processor may do ahead of a check, too. A newer one (that of Linux 6.18) has the processor
 * wait where that leads to something that is not allowed. An older one (6.1) refuses the program: one that sets a pointer to NULL and asks
 * for that later, one that writes twice to half a word of its stack, so all of ours, and most that a compiler makes. There
 * CAP_PERFMON is taken, and what the verifier does not do then is done by vet-flow.c: no address comes out of the program. */

#include "program/privilege.h"

#include <linux/bpf.h>
#include <sys/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

static const cap_value_t capabilities[] = {CAP_BPF, CAP_PERFMON};
#define ONLY_BPF 1

static void caps_freep(cap_t *caps) {
        if (*caps)
                (void) cap_free(*caps);
}

/* The first n of the list, as far as they are permitted. */
static int set_effective(size_t n) {
        _cleanup_(caps_freep) cap_t caps = cap_get_proc();

        if (!caps || cap_clear_flag(caps, CAP_EFFECTIVE) < 0)
                return -errno;
        for (size_t i = 0; i < n; i++) {
                cap_flag_value_t permitted = CAP_CLEAR;
                if (cap_get_flag(caps, capabilities[i], CAP_PERMITTED, &permitted) < 0 ||
                    cap_set_flag(caps, CAP_EFFECTIVE, 1, &capabilities[i], permitted) < 0)
                        return -errno;
        }
        return RET_NERRNO(cap_set_proc(caps));
}

int privilege_begin(void) {
        _cleanup_(caps_freep) cap_t now = cap_get_proc(), less = cap_init();

        if (!now || !less)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(capabilities); i++) {
                cap_flag_value_t permitted = CAP_CLEAR;
                if (cap_get_flag(now, capabilities[i], CAP_PERMITTED, &permitted) < 0 ||
                    cap_set_flag(less, CAP_PERMITTED, 1, &capabilities[i], permitted) < 0)
                        return -errno;
        }
        int r = RET_NERRNO(cap_set_proc(less));
        return r < 0 ? r : set_effective(ONLY_BPF);
}

/* Whether this kernel takes, with CAP_BPF, what older ones do not. */
static bool does_with_bpf(void) {
        static const struct bpf_insn insns[] = {
                {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1},
                {.code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = 10, .src_reg = 2, .off = -8},
                {.code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = 10, .src_reg = 2, .off = -8}, /* half a word, for the second time */
                {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
                {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .off = 1, .imm = 0},
                {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 0, .src_reg = 0}, /* never, but ahead of the check */
                {.code = BPF_JMP | BPF_EXIT},
        };
        union bpf_attr attr = {
                .prog_type = BPF_PROG_TYPE_SYSCALL,
                .insn_cnt = ELEMENTSOF(insns),
                .insns = (uintptr_t) insns,
                .license = (uintptr_t) "GPL",
                .prog_flags = BPF_F_SLEEPABLE,
        };
        int fd = (int) syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);

        if (fd >= 0)
                (void) close(fd);
        return fd >= 0;
}

int privilege_load(Loaded *loaded, char *log, size_t log_size, bool *ret_trusted) {
        const bool trusted = loaded->part == LOAD_RUN ? !does_with_bpf() : loaded->part != LOAD_TABLES;
        int r, lowered;

        r = set_effective(trusted ? ELEMENTSOF(capabilities) : ONLY_BPF);
        if (r >= 0)
                r = load_load(loaded, log, log_size);
        lowered = set_effective(ONLY_BPF);
        if (r < 0 || lowered < 0)
                return r < 0 ? r : lowered;
        if (ret_trusted)
                *ret_trusted = trusted;
        return 0;
}
