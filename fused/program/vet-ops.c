/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The struct_ops forms of a program, looked at as they stand in the file: the kernel's verifier sees them only where there is fuse-iomap. Helpers
 * and size are as for the other forms. Besides, the kernels known so far let such a program write past the struct that it is to fill
 * (fuse_iomap_begin_out), over whatever is behind it. So a store goes to the stack or to a place within that struct. This finds an author's
 * mistake; it does not follow pointers that were moved first. Whose word counts for more than that is the policy's. */

#include <elf.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>

#include "fused-mapping.h"
#include "program/vet.h"

#define OUT_SIZE (2 * sizeof(struct fused_mapping)) /* of the larger of the structs */
#define FORMS_MAX 12U /* variants, for each of three members */

static const char *const node_function = "fuse_bpf_inode_nodeid";

static uint32_t store_size(uint8_t code) {
        static const uint32_t sizes[] = {[BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1, [BPF_DW >> 3] = 8};

        return sizes[BPF_SIZE(code) >> 3];
}

static bool is_store(uint8_t code) {
        return BPF_CLASS(code) == BPF_ST || BPF_CLASS(code) == BPF_STX;
}

int vet_ops_section(const char *name, const void *data, size_t size, Report *report) {
        const bool is_form = strncmp(name, "struct_ops/", 11) == 0; /* else functions that it may call */
        const struct bpf_insn *insns = data;
        size_t n = size / sizeof *insns;

        if (n > (size_t) FORMS_MAX * VET_INSTRUCTIONS_MAX || (uintptr_t) data % _Alignof(struct bpf_insn) != 0)
                return report_fail(report, "size", "%s has %zu instructions", name, n);
        for (size_t i = 0; i < n; i++) {
                const struct bpf_insn *insn = &insns[i];
                int r = vet_instruction(name, insn, report);
                if (r < 0)
                        return r;
                if (is_form && is_store(insn->code) && insn->dst_reg != BPF_REG_10 &&
                    (insn->off < 0 || (size_t) insn->off + store_size(insn->code) > OUT_SIZE))
                        return report_fail(report, "struct_ops", "%s writes at %d of %zu bytes that it is given", name, insn->off, OUT_SIZE);
                if (insn->code == (BPF_LD | BPF_IMM | BPF_DW)) /* of two, the second is a number */
                        i++;
        }
        return 0;
}

int vet_ops_symbols(const Elf64_Sym *symbols, size_t n, const char *names, size_t names_size, Report *report) {
        for (size_t i = 1; i < n; i++) {
                if (symbols[i].st_shndx != SHN_UNDEF)
                        continue;
                if (symbols[i].st_name >= names_size || !memchr(names + symbols[i].st_name, 0, names_size - symbols[i].st_name))
                        return report_fail(report, "format", "a symbol's name reaches out of the file");
                if (strcmp(names + symbols[i].st_name, node_function) != 0)
                        return report_fail(report, "helpers", "it calls %s, a function of the kernel", names + symbols[i].st_name);
        }
        return 0;
}
