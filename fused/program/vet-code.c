/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The instructions of a program, looked at twice: as they stand in the file, before libbpf or the kernel see them, and once more as libbpf has given
 * them to the kernel. Between the two, addresses of tables have been put in, what the forms call by name, and where members of the kernel's structs
 * are.
 *
 * The forms for struct_ops have one rule more. The kernels known so far let such a program write past the struct that it is to fill
 * (fuse_iomap_begin_out), over whatever is behind it. So a store goes to the stack or to a place within that struct. This finds an author's
 * mistake; it does not follow pointers that were moved first. Whose word counts for more than that is the policy's. */

#include <linux/bpf.h>
#include <stdint.h>

#include "fused-mapping.h"
#include "program/vet.h"

#define OUT_SIZE (2 * sizeof(struct fused_mapping)) /* of the larger of the structs */
#define FORMS_MAX 12U /* in a section: variants, for each of three members */
#define MODE_SIGNED 0x80 /* BPF_MEMSX, Linux 6.6 */

/* What a mapping program needs. No reading of kernel memory, no system calls from BPF, no printing, no time to tell by; and no loops by
 * helper, which nested run for days where nothing can end them. The verifier follows plain loops to their end, so those are short. */
static const uint32_t helpers[] = {BPF_FUNC_map_lookup_elem};

static bool helper_is_allowed(uint32_t id) {
        for (size_t i = 0; i < ELEMENTSOF(helpers); i++)
                if (helpers[i] == id)
                        return true;
        return false;
}

static bool is_wide(const struct bpf_insn *insn) {
        return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

/* Numbers, plain loads and stores, jumps and calls. Not: packets (BPF_ABS, BPF_IND), loops that the verifier does not follow (may_goto, Linux 6.8),
 * calls and jumps to what a register says, and what newer kernels may think of. */
static bool code_is_known(uint8_t code) {
        const uint8_t mode = BPF_MODE(code), op = BPF_OP(code);

        switch (BPF_CLASS(code)) {
        case BPF_LD: return code == (BPF_LD | BPF_IMM | BPF_DW);
        case BPF_LDX: return mode == BPF_MEM || mode == MODE_SIGNED;
        case BPF_ST: return mode == BPF_MEM;
        case BPF_STX: return mode == BPF_MEM || mode == BPF_ATOMIC;
        case BPF_JMP: return op <= BPF_JSLE && (BPF_SRC(code) == BPF_K || (op != BPF_JA && op != BPF_CALL && op != BPF_EXIT));
        case BPF_JMP32: return op <= BPF_JSLE && op != BPF_CALL && op != BPF_EXIT && (BPF_SRC(code) == BPF_K || op != BPF_JA);
        default: return true; /* arithmetic */
        }
}

static int vet_call(const char *name, const struct bpf_insn *insn, const CodeRules *rules, Report *report) {
        switch (insn->src_reg) {
        case 0:
                if (!helper_is_allowed((uint32_t) insn->imm))
                        return report_fail(report, "helpers", "%s calls helper %d, which is not allowed", name, insn->imm);
                return 0;
        case BPF_PSEUDO_CALL: /* its own; in a file also what a symbol stands for */
                return 0;
        case BPF_PSEUDO_KFUNC_CALL:
                if (rules->loaded && rules->node_function > 0 && insn->imm == rules->node_function)
                        return 0;
                return report_fail(report, "helpers", "%s calls function %d of the kernel", name, insn->imm);
        default:
                return report_fail(report, "helpers", "%s has a call of kind %u", name, insn->src_reg);
        }
}

/* A number of 64 bits, or an address that the kernel puts in its place: for tables, and by libbpf's doing. */
static int vet_wide(const char *name, const struct bpf_insn *insn, const CodeRules *rules, Report *report) {
        if (insn->src_reg == 0 || (rules->loaded && (insn->src_reg == BPF_PSEUDO_MAP_FD || insn->src_reg == BPF_PSEUDO_MAP_VALUE)))
                return 0;
        return report_fail(report, "instructions", "%s asks for an address of kind %u", name, insn->src_reg);
}

static bool is_store(uint8_t code) {
        return BPF_CLASS(code) == BPF_ST || BPF_CLASS(code) == BPF_STX;
}

static size_t store_size(uint8_t code) {
        static const uint8_t sizes[] = {[BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1, [BPF_DW >> 3] = 8};

        return sizes[BPF_SIZE(code) >> 3];
}

static int vet_instruction(const char *name, const struct bpf_insn *insn, const CodeRules *rules, Report *report) {
        if (!code_is_known(insn->code))
                return report_fail(report, "instructions", "%s has instruction 0x%02x, which is not for a mapping program", name, insn->code);
        if (insn->code == (BPF_JMP | BPF_CALL))
                return vet_call(name, insn, rules, report);
        if (is_wide(insn))
                return vet_wide(name, insn, rules, report);
        if (rules->bounded && is_store(insn->code) && insn->dst_reg != BPF_REG_10 &&
            (insn->off < 0 || (size_t) insn->off + store_size(insn->code) > OUT_SIZE))
                return report_fail(report, "struct_ops", "%s writes at %d of %zu bytes that it is given", name, insn->off, OUT_SIZE);
        return 0;
}

int vet_code(const char *name, const struct bpf_insn *insns, size_t n, const CodeRules *rules, Report *report) {
        const size_t max = (size_t) VET_INSTRUCTIONS_MAX * (rules->loaded ? 1 : FORMS_MAX);

        if (n > max) /* loaded: with the functions that it calls, which are known only then */
                return report_fail(report, "size", "%s has %zu instructions, %zu are allowed", name, n, max);
        for (size_t i = 0; i < n; i += is_wide(&insns[i]) ? 2 : 1) { /* the second half of a wide one is a number */
                int r = vet_instruction(name, &insns[i], rules, report);
                if (r < 0)
                        return r;
        }
        return 0;
}
