/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No address comes out of a program: what would let one out is refused, its neighbour is not. And the programs that come with fused, as this kernel
 * has loaded them (needs root). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "program/vet.h"

/* r1: the context, r10: the stack's end */
#define MOV(a, b) {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (a), .src_reg = (b)}
#define SET(a, number) {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (a), .imm = (number)}
#define MOV32(a, b) {.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = (a), .src_reg = (b)}
#define REG(op, a, b) {.code = BPF_ALU64 | (op) | BPF_X, .dst_reg = (a), .src_reg = (b)}
#define IMM(op, a, number) {.code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (a), .imm = (number)}
#define LDX(size, a, b, at) {.code = BPF_LDX | BPF_MEM | (size), .dst_reg = (a), .src_reg = (b), .off = (at)}
#define STX(size, a, at, b) {.code = BPF_STX | BPF_MEM | (size), .dst_reg = (a), .src_reg = (b), .off = (at)}
#define ADD_TO(a, at, b, how) {.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = (a), .src_reg = (b), .off = (at), .imm = (how)}
#define JUMP(op, a, number, by) {.code = BPF_JMP | (op) | BPF_K, .dst_reg = (a), .imm = (number), .off = (by)}
#define JUMP_IF(op, a, b, by) {.code = BPF_JMP | (op) | BPF_X, .dst_reg = (a), .src_reg = (b), .off = (by)}
#define TABLE(a) {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = (a), .src_reg = BPF_PSEUDO_MAP_FD, .imm = 3}, {0}
#define CONSTANT(a) {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = (a), .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = 3}, {0}
#define LOOK_UP {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem}
#define KEY(number) SET(2, number), STX(BPF_W, 10, -8, 2), MOV(2, 10), IMM(BPF_ADD, 2, -8)
#define FIND KEY(1), TABLE(1), LOOK_UP
#define END SET(0, 0), {.code = BPF_JMP | BPF_EXIT}

typedef struct Row {
        const char *what;
        bool refused;
        struct bpf_insn insns[24];
} Row;

static const Row rows[] = {
        {"nothing", false, {END}},
        {"a number from the context back into it", false, {LDX(BPF_DW, 2, 1, 8), IMM(BPF_XOR, 2, 77), STX(BPF_DW, 1, 16, 2), END}},
        {"the context's address into it", true, {STX(BPF_DW, 1, 16, 1), END}},
        {"the stack's address into it", true, {STX(BPF_DW, 1, 16, 10), END}},
        {"half of an address into it", true, {STX(BPF_W, 1, 16, 1), END}},
        {"an address as the verdict", true, {MOV(0, 1), {.code = BPF_JMP | BPF_EXIT}}},
        {"a number as the verdict", false, {LDX(BPF_DW, 0, 1, 0), {.code = BPF_JMP | BPF_EXIT}}},
        {"what is in a table", false, {FIND, JUMP(BPF_JEQ, 0, 0, 1), LDX(BPF_DW, 0, 0, 0), END}},
        {"a number into a table's entry (which is for another check)", false, {FIND, JUMP(BPF_JEQ, 0, 0, 2), SET(2, 1), STX(BPF_DW, 0, 0, 2), END}},
        {"an address into a table's entry", true, {FIND, JUMP(BPF_JEQ, 0, 0, 1), STX(BPF_DW, 0, 0, 0), END}},
        {"an address kept on the stack", false, {STX(BPF_DW, 10, -8, 1), LDX(BPF_DW, 3, 10, -8), LDX(BPF_DW, 2, 3, 0), END}},
        {"an address kept on the stack, into the context", true, {STX(BPF_DW, 10, -8, 1), LDX(BPF_DW, 3, 10, -8), STX(BPF_DW, 1, 0, 3), END}},
        {"half of an address on the stack", true, {STX(BPF_DW, 10, -8, 1), LDX(BPF_W, 3, 10, -8), END}},
        {"half of one, moved", true, {STX(BPF_DW, 10, -8, 1), SET(2, 0), STX(BPF_W, 10, -8, 2), LDX(BPF_DW, 3, 10, -8), STX(BPF_DW, 1, 0, 3), END}},
        {"half of one, over a number", false, {STX(BPF_DW, 10, -8, 1), SET(2, 0), STX(BPF_DW, 10, -8, 2), LDX(BPF_W, 3, 10, -4), END}},
        {"an address of the stack kept on the stack", true, {STX(BPF_DW, 10, -8, 10), END}},
        {"an address across two words of the stack", true, {STX(BPF_DW, 10, -12, 1), END}},
        {"what nobody has written to the stack", true, {LDX(BPF_DW, 3, 10, -8), END}},
        {"what somebody has written a half of", true, {SET(2, 0), STX(BPF_W, 10, -8, 2), LDX(BPF_DW, 3, 10, -8), END}},
        {"a half that was written", false, {SET(2, 0), STX(BPF_W, 10, -8, 2), LDX(BPF_W, 3, 10, -8), END}},
        {"by another register of the stack's", false,
         {SET(2, 0), MOV(3, 10), IMM(BPF_SUB, 3, 16), STX(BPF_DW, 3, 8, 2), LDX(BPF_DW, 4, 10, -8), END}},
        {"an address by another register", true, {MOV(3, 10), IMM(BPF_ADD, 3, -16), STX(BPF_DW, 3, 8, 1), LDX(BPF_H, 4, 10, -8), END}},
        {"somewhere on the stack", true, {SET(3, -8), LDX(BPF_DW, 2, 1, 0), REG(BPF_ADD, 3, 10), LDX(BPF_DW, 4, 3, 0), END}},
        {"past the stack's end", true, {MOV(3, 10), IMM(BPF_ADD, 3, 8), END}},

        {"a pointer moved by a number", false, {LDX(BPF_DW, 3, 1, 0), REG(BPF_ADD, 1, 3), LDX(BPF_DW, 2, 1, 0), END}},
        {"a number moved by a pointer", false, {LDX(BPF_DW, 3, 1, 0), REG(BPF_ADD, 3, 1), LDX(BPF_DW, 2, 3, 0), END}},
        {"a pointer less a pointer", true, {MOV(3, 1), REG(BPF_SUB, 3, 1), END}},
        {"a number less a pointer", true, {SET(3, 0), REG(BPF_SUB, 3, 1), END}},
        {"bits of a pointer", true, {IMM(BPF_RSH, 1, 3), END}},
        {"a pointer with itself", true, {REG(BPF_XOR, 1, 1), END}},
        {"half of a pointer", true, {MOV32(3, 1), END}},
        {"half of a number", false, {SET(2, 1), MOV32(3, 2), STX(BPF_DW, 1, 0, 3), END}},
        {"a pointer with its bytes turned", true, {{.code = BPF_ALU | BPF_END | BPF_TO_BE, .dst_reg = 1, .imm = 64}, END}},
        {"a pointer with its sign", true, {{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 1, .off = 32}, END}},
        {"a pointer, negative", true, {{.code = BPF_ALU64 | BPF_NEG, .dst_reg = 1}, END}},

        {"whether there is an entry", false, {FIND, SET(3, 1), JUMP(BPF_JNE, 0, 0, 1), SET(3, 2), END}},
        {"whether an address is above a number", true, {JUMP(BPF_JGT, 1, 77, 0), END}},
        {"whether an address is a number", true, {JUMP(BPF_JEQ, 1, 77, 0), END}},
        {"whether an address has a bit", true, {JUMP(BPF_JSET, 1, 8, 0), END}},
        {"whether two addresses are in order", true, {JUMP_IF(BPF_JGT, 1, 10, 0), END}},
        {"whether a number is above an address", true, {SET(2, 0), JUMP_IF(BPF_JGT, 2, 1, 0), END}},
        {"whether half of an address is 0", true, {{.code = BPF_JMP32 | BPF_JEQ | BPF_K, .dst_reg = 1}, END}},
        {"whether a number is above a number", false, {LDX(BPF_DW, 2, 1, 0), LDX(BPF_DW, 3, 1, 8), JUMP_IF(BPF_JGT, 2, 3, 0), END}},

        {"a table's own memory", true, {TABLE(1), LDX(BPF_DW, 2, 1, 0), END}},
        {"a table's address on the stack", true, {TABLE(1), STX(BPF_DW, 10, -8, 1), END}},
        {"a table's address, moved", true, {TABLE(1), IMM(BPF_ADD, 1, 8), END}},
        {"a constant", false, {CONSTANT(2), LDX(BPF_DW, 3, 2, 0), STX(BPF_DW, 1, 0, 3), END}},
        {"a constant's address", true, {CONSTANT(2), STX(BPF_DW, 1, 0, 2), END}},
        {"an address as a key", true, {STX(BPF_DW, 10, -8, 1), MOV(2, 10), IMM(BPF_ADD, 2, -8), TABLE(1), LOOK_UP, END}},
        {"a key from the context", false, {MOV(2, 1), TABLE(1), LOOK_UP, END}},
        {"a lookup in no table", true, {KEY(1), LOOK_UP, END}},
        {"a register that a call has used up", true, {FIND, STX(BPF_DW, 10, -16, 3), END}},
        {"a register that a call leaves", false, {MOV(6, 1), FIND, LDX(BPF_DW, 3, 6, 0), STX(BPF_DW, 6, 8, 3), END}},
        {"a function of its own", true, {{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 1}, END, END}},

        {"numbers added on the stack", false, {SET(2, 1), STX(BPF_DW, 10, -8, 2), ADD_TO(10, -8, 2, BPF_ADD | BPF_FETCH), STX(BPF_DW, 1, 0, 2), END}},
        {"an address exchanged with the stack", true, {STX(BPF_DW, 10, -8, 1), SET(2, 1), ADD_TO(10, -8, 2, BPF_XCHG), STX(BPF_DW, 1, 0, 2), END}},
        {"an address put on the stack in exchange", true, {SET(2, 1), STX(BPF_DW, 10, -8, 2), ADD_TO(10, -8, 1, BPF_XCHG), END}},
        {"added to the context", true, {SET(2, 1), ADD_TO(1, 0, 2, BPF_ADD), END}},
        {"an address compared with the stack", true, {MOV(0, 1), SET(2, 1), STX(BPF_DW, 10, -8, 2), ADD_TO(10, -8, 2, BPF_CMPXCHG), END}},

        /* two ways to one place */
        {"a number or an address, into the context", true,
         {LDX(BPF_DW, 2, 1, 0), SET(3, 0), JUMP(BPF_JEQ, 2, 5, 1), MOV(3, 1), STX(BPF_DW, 1, 0, 3), END}},
        {"NULL or an address, read through", false,
         {LDX(BPF_DW, 2, 1, 0), SET(3, 0), JUMP(BPF_JEQ, 2, 5, 1), MOV(3, 1), JUMP(BPF_JEQ, 3, 0, 1), LDX(BPF_DW, 4, 3, 0), END}},
        {"a number or an address on the stack, half of it", true,
         {LDX(BPF_DW, 2, 1, 0), STX(BPF_DW, 10, -8, 2), JUMP(BPF_JEQ, 2, 5, 1), STX(BPF_DW, 10, -8, 1), LDX(BPF_W, 4, 10, -8), END}},
        {"a number or an address on the stack, read through", false,
         {LDX(BPF_DW, 2, 1, 0), STX(BPF_DW, 10, -8, 2), JUMP(BPF_JEQ, 2, 5, 1), STX(BPF_DW, 10, -8, 1), LDX(BPF_DW, 4, 10, -8),
          LDX(BPF_DW, 5, 4, 0), END}},
        {"two places of the stack", true,
         {LDX(BPF_DW, 2, 1, 0), STX(BPF_DW, 10, -8, 2), MOV(3, 10), IMM(BPF_ADD, 3, -8), JUMP(BPF_JEQ, 2, 5, 1), IMM(BPF_ADD, 3, -8),
          LDX(BPF_DW, 4, 3, 0), END}},
        {"an address that a loop brings round", true,
         {LDX(BPF_DW, 2, 1, 0), SET(3, 0), STX(BPF_DW, 1, 0, 3), MOV(3, 1), JUMP(BPF_JEQ, 2, 5, -3), END}},
        {"a number that a loop brings round", false,
         {LDX(BPF_DW, 2, 1, 0), SET(3, 0), STX(BPF_DW, 1, 0, 3), MOV(3, 2), JUMP(BPF_JEQ, 2, 5, -3), END}},
        {"out of the program", true, {JUMP(BPF_JA, 0, 0, 100), END}},
};

static size_t length(const struct bpf_insn *insns) {
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(rows[0].insns); i++)
                if (insns[i].code == (BPF_JMP | BPF_EXIT))
                        n = i + 1;
        return n;
}

static void test_rows(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Report report = {0};
                int r = vet_flow("it", rows[i].insns, length(rows[i].insns), &report);
                if (r != (rows[i].refused ? -EPERM : 0))
                        fail_msg("%s: %d, %s", rows[i].what, r, report.text);
                if (r < 0)
                        assert_string_equal(report.rule, "addresses");
        }
}

static int n_objects;
static char **objects;

static void test_objects(void **state) {
        static uint8_t elf[1 << 20];

        for (int i = 0; i < n_objects; i++) {
                FILE *file = fopen(objects[i], "re");
                struct bpf_program *program;
                Loaded loaded = LOADED_NULL;
                Report report = {0};
                unsigned n = 0;
                assert_non_null(file);
                size_t size = fread(elf, 1, sizeof elf, file);
                (void) fclose(file);
                assert_int_equal(load_open(elf, size, LOAD_RUN, VARIANT_NONE, &loaded), 0);
                assert_int_equal(load_load(&loaded, NULL, 0), 0);
                bpf_object__for_each_program(program, loaded.object)
                        if (bpf_program__autoload(program)) {
                                if (vet_flow(objects[i], bpf_program__insns(program), bpf_program__insn_cnt(program), &report) < 0)
                                        fail_msg("%s", report.text);
                                n++;
                        }
                assert_int_equal(n, 1);
                load_done(&loaded);
        }
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_objects),
        };

        if (geteuid() != 0)
                return 77;
        n_objects = argc - 1;
        objects = argv + 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
