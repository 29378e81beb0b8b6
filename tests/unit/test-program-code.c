/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which instructions a mapping program may have: in its file, and as it was loaded. Each row is one, beside what is said of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "program/vet.h"

#define NODE_FUNCTION 4711
#define WIDE (BPF_LD | BPF_IMM | BPF_DW)

static const CodeRules in_file = {0}, form_in_file = {.bounded = true}, loaded = {.loaded = true},
        form_loaded = {.loaded = true, .bounded = true, .node_function = NODE_FUNCTION};

typedef struct Row {
        const CodeRules *rules;
        struct bpf_insn insn;
        const char *rule; /* that it breaks; NULL: none */
} Row;

static const Row rows[] = {
        {&in_file, {.code = BPF_ALU64 | BPF_ADD | BPF_X}, NULL},
        {&in_file, {.code = BPF_ALU | BPF_END | BPF_TO_BE, .imm = 16}, NULL},
        {&in_file, {.code = BPF_LDX | BPF_MEM | BPF_DW}, NULL},
        {&in_file, {.code = BPF_LDX | 0x80 | BPF_W}, NULL}, /* with its sign */
        {&in_file, {.code = BPF_ST | BPF_MEM | BPF_B, .off = 5000}, NULL},
        {&in_file, {.code = BPF_STX | BPF_ATOMIC | BPF_DW}, NULL},
        {&in_file, {.code = BPF_JMP | BPF_JA}, NULL},
        {&in_file, {.code = BPF_JMP | BPF_JSLE | BPF_X}, NULL},
        {&in_file, {.code = BPF_JMP32 | BPF_JEQ | BPF_K}, NULL},
        {&in_file, {.code = BPF_JMP32 | BPF_JA}, NULL}, /* a long one */
        {&in_file, {.code = BPF_JMP | BPF_EXIT}, NULL},

        {&in_file, {.code = BPF_LD | BPF_ABS | BPF_W}, "instructions"},
        {&in_file, {.code = BPF_LD | BPF_IND | BPF_B}, "instructions"},
        {&in_file, {.code = BPF_LD | BPF_IMM | BPF_W}, "instructions"},
        {&in_file, {.code = BPF_LDX | 0x20 | BPF_W}, "instructions"}, /* what the kernel itself makes of some loads */
        {&in_file, {.code = BPF_LDX | BPF_ATOMIC | BPF_W}, "instructions"},
        {&in_file, {.code = BPF_ST | BPF_ATOMIC | BPF_W}, "instructions"},
        {&in_file, {.code = BPF_JMP | 0xe0}, "instructions"}, /* may_goto */
        {&in_file, {.code = BPF_JMP | 0xf0}, "instructions"}, /* a tail call, in the kernel */
        {&in_file, {.code = BPF_JMP | BPF_CALL | BPF_X}, "instructions"},
        {&in_file, {.code = BPF_JMP | BPF_JA | BPF_X}, "instructions"},
        {&in_file, {.code = BPF_JMP32 | BPF_JA | BPF_X}, "instructions"},
        {&in_file, {.code = BPF_JMP32 | BPF_CALL}, "instructions"},

        {&in_file, {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem}, NULL},
        {&in_file, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = -1}, NULL},
        {&in_file, {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_update_elem}, "helpers"},
        {&in_file, {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call}, "helpers"},
        {&in_file, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = NODE_FUNCTION}, "helpers"},
        {&in_file, {.code = BPF_JMP | BPF_CALL, .src_reg = 3}, "helpers"},
        {&form_loaded, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = NODE_FUNCTION}, NULL},
        {&form_loaded, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = NODE_FUNCTION + 1}, "helpers"},
        {&loaded, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = NODE_FUNCTION}, "helpers"},
        {&loaded, {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL}, "helpers"},

        {&in_file, {.code = WIDE, .imm = 77}, NULL},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_FD, .imm = 3}, "instructions"},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = 3}, "instructions"},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_BTF_ID, .imm = 3}, "instructions"},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_FUNC, .imm = 3}, "instructions"},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_IDX}, "instructions"},
        {&in_file, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_IDX_VALUE}, "instructions"},
        {&loaded, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_FD, .imm = 3}, NULL},
        {&loaded, {.code = WIDE, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = 3}, NULL},
        {&loaded, {.code = WIDE, .src_reg = BPF_PSEUDO_BTF_ID, .imm = 3}, "instructions"},
        {&loaded, {.code = WIDE, .src_reg = BPF_PSEUDO_FUNC, .imm = 3}, "instructions"},

        {&form_in_file, {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .off = 56}, NULL},
        {&form_in_file, {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .off = -8}, NULL},
        {&form_in_file, {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .off = 57}, "struct_ops"},
        {&form_in_file, {.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 1, .off = 64}, "struct_ops"},
        {&form_in_file, {.code = BPF_ST | BPF_MEM | BPF_B, .dst_reg = 1, .off = 63}, NULL},
        {&form_in_file, {.code = BPF_ST | BPF_MEM | BPF_B, .dst_reg = 1, .off = 64}, "struct_ops"},
        {&form_in_file, {.code = BPF_ST | BPF_MEM | BPF_H, .dst_reg = 1, .off = -2}, "struct_ops"},
        {&form_loaded, {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 1, .off = 61}, "struct_ops"},
};

static void test_one(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const struct bpf_insn insns[] = {rows[i].insn, {0}};
                Report report = {0};
                int r = vet_code("it", insns, rows[i].insn.code == WIDE ? 2 : 1, rows[i].rules, &report);
                if (r != (rows[i].rule ? -EPERM : 0) || strcmp(report.rule, rows[i].rule ? rows[i].rule : "") != 0)
                        fail_msg("row %zu, code 0x%02x: %d, %s: %s", i, rows[i].insn.code, r, report.rule, report.text);
        }
}

/* The second half of a wide one is no instruction, whatever it looks like; the one behind it is. */
static void test_wide(void **state) {
        struct bpf_insn insns[] = {{.code = WIDE}, {.code = BPF_JMP | BPF_CALL, .imm = 1000}, {.code = BPF_JMP | BPF_EXIT}};
        Report report = {0};

        assert_int_equal(vet_code("it", insns, 3, &in_file, &report), 0);
        insns[2] = insns[1];
        assert_int_equal(vet_code("it", insns, 3, &in_file, &report), -EPERM);
        insns[2] = insns[0]; /* with nothing behind it */
        assert_int_equal(vet_code("it", insns, 3, &in_file, &(Report){0}), 0);
}

static void test_size(void **state) {
        static struct bpf_insn insns[VET_INSTRUCTIONS_MAX + 1];
        Report report = {0};

        for (size_t i = 0; i < ELEMENTSOF(insns); i++)
                insns[i].code = BPF_ALU64 | BPF_MOV | BPF_K;
        assert_int_equal(vet_code("it", insns, VET_INSTRUCTIONS_MAX, &loaded, &report), 0);
        assert_int_equal(vet_code("it", insns, VET_INSTRUCTIONS_MAX + 1, &in_file, &report), 0); /* a section has several */
        assert_int_equal(vet_code("it", insns, VET_INSTRUCTIONS_MAX + 1, &loaded, &report), -EPERM);
        assert_string_equal(report.rule, "size");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one),
                cmocka_unit_test(test_wide),
                cmocka_unit_test(test_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
