/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No address comes out of a program: what the kernel's verifier sees to where it is asked without CAP_PERFMON, which not every
 * kernel can be (privilege.c). That verifier has said already that the program ends, and that it reads and writes within what it
 * points to. Here each value is a number, or a pointer of one of three kinds, or unknown, and from instruction to instruction it is
 * followed which of them a register and a byte of the stack may be. Where two ways meet, a number and a pointer are a pointer.
 *
 * A number may do anything. A pointer may be moved by numbers, kept on the stack, compared with NULL, looked up by, read and written
 * through, and nothing else. A way on which a number is read or written through is one that the program never goes: the other
 * verifier has followed what numbers may be. */

#include <linux/bpf.h>
#include <string.h>

#include "program/vet.h"

#define REGISTERS 11
#define STACK 512

typedef enum Kind {
        UNKNOWN, /* not set, or one thing or another: not to be used */
        NUMBER,
        VALUE,   /* of the context, or of a table's entry, or NULL: what is there are numbers */
        TABLE,   /* for a helper, and not to be read: it is the kernel's own */
        FRAME,   /* of the stack, offset bytes from its end */
} Kind;

typedef struct Value { /* no bytes between, as it is compared as a whole */
        int16_t kind;   /* Kind */
        int16_t offset; /* FRAME, else 0 */
} Value;

typedef struct State {
        bool reached;
        Value registers[REGISTERS];
        uint8_t stack[STACK]; /* Kind of each byte: UNKNOWN, NUMBER, or VALUE */
} State;

typedef struct Flow {
        const char *name;
        const struct bpf_insn *insns;
        size_t n;
        State *states;      /* owned: before each instruction */
        uint16_t *waiting;  /* owned: whose state has changed */
        bool *is_waiting;   /* owned */
        size_t n_waiting;
        Report *report;
} Flow;

static int refuse(const Flow *flow, size_t i, const char *why) {
        return report_fail(flow->report, "addresses", "%s, instruction %zu: %s", flow->name, i, why);
}

static bool is_pointer(Value value) {
        return value.kind == VALUE || value.kind == TABLE || value.kind == FRAME;
}

static Value number(void) {
        return (Value){.kind = NUMBER};
}

/* ---- where ways meet ------------------------------------------------------------------------------------------------- */

static Kind meet_kinds(Kind a, Kind b) {
        return a == b ? a : (a == NUMBER && b == VALUE) || (a == VALUE && b == NUMBER) ? VALUE : UNKNOWN;
}

static Value meet_values(Value a, Value b) {
        if (a.kind == b.kind)
                return a.offset == b.offset ? a : (Value){.kind = UNKNOWN};
        return (Value){.kind = (int16_t) meet_kinds((Kind) a.kind, (Kind) b.kind)};
}

static int go_to(Flow *flow, size_t from, int64_t to, const State *state) {
        if (to < 0 || (uint64_t) to >= flow->n)
                return refuse(flow, from, "it leaves the program");
        State *there = &flow->states[to], merged = *state;
        merged.reached = true;
        if (there->reached) {
                for (size_t i = 0; i < REGISTERS; i++)
                        merged.registers[i] = meet_values(there->registers[i], state->registers[i]);
                for (size_t i = 0; i < STACK; i++)
                        merged.stack[i] = (uint8_t) meet_kinds((Kind) there->stack[i], (Kind) state->stack[i]);
                if (memcmp(merged.stack, there->stack, STACK) == 0 && memcmp(merged.registers, there->registers, sizeof merged.registers) == 0)
                        return 0;
        }
        *there = merged;
        if (!flow->is_waiting[to])
                flow->waiting[flow->n_waiting++] = (uint16_t) to;
        flow->is_waiting[to] = true;
        return 0;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static size_t size_of(uint8_t code) {
        static const uint8_t sizes[] = {[BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1, [BPF_DW >> 3] = 8};

        return sizes[BPF_SIZE(code) >> 3];
}

/* The bytes of the stack there; NULL: that is not the stack. */
static uint8_t *find_bytes(State *state, Value base, int offset, size_t size) {
        int at = STACK + base.offset + offset;

        return base.kind == FRAME && at >= 0 && (size_t) at + size <= STACK ? state->stack + at : NULL;
}

static bool has_any(const uint8_t *bytes, size_t size, Kind kind) {
        return memchr(bytes, (int) kind, size) != NULL;
}

static bool are_numbers(const uint8_t *bytes, size_t size) {
        return !has_any(bytes, size, UNKNOWN) && !has_any(bytes, size, VALUE);
}

static int load(Flow *flow, size_t i, State *state) {
        const struct bpf_insn *insn = &flow->insns[i];
        const Value base = state->registers[insn->src_reg];
        const size_t size = size_of(insn->code);
        const uint8_t *bytes = find_bytes(state, base, insn->off, size);

        if (base.kind != VALUE && base.kind != NUMBER && !bytes)
                return refuse(flow, i, "it reads where that cannot be followed");
        if (!bytes || are_numbers(bytes, size))
                state->registers[insn->dst_reg] = number();
        else if (size == 8 && !has_any(bytes, size, UNKNOWN)) /* a pointer, or what is left of one */
                state->registers[insn->dst_reg] = (Value){.kind = VALUE};
        else
                return refuse(flow, i, "it reads a part of an address, or what it has not written");
        return 0;
}

static int store(Flow *flow, size_t i, State *state, Value value) {
        const struct bpf_insn *insn = &flow->insns[i];
        const Value base = state->registers[insn->dst_reg];
        const size_t size = size_of(insn->code);
        uint8_t *bytes = find_bytes(state, base, insn->off, size);

        if (base.kind == NUMBER)
                return 0;
        if (value.kind == NUMBER && (bytes || base.kind == VALUE)) {
                if (bytes)
                        memset(bytes, NUMBER, size);
                return 0;
        }
        if (value.kind != VALUE || !bytes || size != 8 || (bytes - state->stack) % 8 != 0)
                return refuse(flow, i, "it writes an address, or where that cannot be followed");
        memset(bytes, VALUE, size);
        return 0;
}

/* On the stack, with numbers. With BPF_FETCH the old one comes back. */
static int atomic(Flow *flow, size_t i, State *state) {
        const struct bpf_insn *insn = &flow->insns[i];
        const size_t size = size_of(insn->code);
        const uint8_t *bytes = find_bytes(state, state->registers[insn->dst_reg], insn->off, size);

        if (!bytes || !are_numbers(bytes, size) || state->registers[insn->src_reg].kind != NUMBER ||
            (insn->imm == BPF_CMPXCHG && state->registers[0].kind != NUMBER) || insn->imm & ~0xff)
                return refuse(flow, i, "an atomic operation on other than numbers on the stack");
        return 0; /* what comes back is a number in place of a number */
}

/* ---- registers ------------------------------------------------------------------------------------------------------- */

static int move_pointer(Flow *flow, size_t i, State *state, Value pointer, const struct bpf_insn *insn) {
        if (pointer.kind == FRAME) {
                int64_t by = BPF_OP(insn->code) == BPF_SUB ? -(int64_t) insn->imm : insn->imm;
                if (BPF_SRC(insn->code) == BPF_X || by < -STACK || by > STACK || pointer.offset + by < -STACK || pointer.offset + by > 0)
                        return refuse(flow, i, "an address of the stack that cannot be followed");
                pointer.offset = (int16_t) (pointer.offset + by);
        } else if (pointer.kind != VALUE)
                return refuse(flow, i, "it calculates with an address");
        state->registers[insn->dst_reg] = pointer;
        return 0;
}

static int arithmetic(Flow *flow, size_t i, State *state) {
        const struct bpf_insn *insn = &flow->insns[i];
        const uint8_t op = BPF_OP(insn->code);
        const bool wide = BPF_CLASS(insn->code) == BPF_ALU64, unary = op == BPF_NEG || op == BPF_END;
        const Value to = state->registers[insn->dst_reg], by = !unary && BPF_SRC(insn->code) == BPF_X ? state->registers[insn->src_reg] : number();

        if (op == BPF_MOV && wide && insn->off == 0 && by.kind != UNKNOWN) {
                state->registers[insn->dst_reg] = by;
                return 0;
        }
        if (by.kind == UNKNOWN || (op != BPF_MOV && to.kind == UNKNOWN))
                return refuse(flow, i, "a register that may be one thing or another");
        if (by.kind == NUMBER && (op == BPF_MOV || to.kind == NUMBER)) {
                state->registers[insn->dst_reg] = number();
                return 0;
        }
        if (wide && by.kind == NUMBER && (op == BPF_ADD || op == BPF_SUB))
                return move_pointer(flow, i, state, to, insn);
        if (wide && op == BPF_ADD && to.kind == NUMBER && by.kind == VALUE) {
                state->registers[insn->dst_reg] = by;
                return 0;
        }
        return refuse(flow, i, "it calculates with an address");
}

static int wide_number(Flow *flow, size_t i, State *state) {
        const struct bpf_insn *insn = &flow->insns[i];
        const Kind kind = insn->src_reg == BPF_PSEUDO_MAP_FD ? TABLE : insn->src_reg == BPF_PSEUDO_MAP_VALUE ? VALUE : NUMBER;

        state->registers[insn->dst_reg] = (Value){.kind = (int16_t) kind};
        return go_to(flow, i, (int64_t) i + 2, state);
}

/* One helper there is (vet-code.c). */
static int look_up(Flow *flow, size_t i, State *state) {
        const uint8_t *key = find_bytes(state, state->registers[2], 0, sizeof(uint32_t));

        if (flow->insns[i].src_reg != 0)
                return refuse(flow, i, "it calls a function that the compiler has not made a part of it");
        if (state->registers[1].kind != TABLE || !(key ? are_numbers(key, sizeof(uint32_t)) : state->registers[2].kind == VALUE))
                return refuse(flow, i, "it looks up an address");
        memset(&state->registers[1], 0, 5 * sizeof state->registers[1]);
        state->registers[0] = (Value){.kind = VALUE};
        return go_to(flow, i, (int64_t) i + 1, state);
}

static int jump(Flow *flow, size_t i, State *state) {
        const struct bpf_insn *insn = &flow->insns[i];
        const uint8_t op = BPF_OP(insn->code);
        const bool wide = BPF_CLASS(insn->code) == BPF_JMP;
        const Value a = state->registers[insn->dst_reg], b = BPF_SRC(insn->code) == BPF_X ? state->registers[insn->src_reg] : number();
        int r;

        if (op == BPF_CALL)
                return look_up(flow, i, state);
        if (op == BPF_EXIT)
                return state->registers[0].kind == NUMBER ? 0 : refuse(flow, i, "it returns an address");
        if (op == BPF_JA)
                return go_to(flow, i, (int64_t) i + 1 + (wide ? insn->off : insn->imm), state);
        if (a.kind == UNKNOWN || b.kind != NUMBER)
                return refuse(flow, i, "it compares with an address");
        if (is_pointer(a) && !(wide && (op == BPF_JEQ || op == BPF_JNE) && BPF_SRC(insn->code) == BPF_K && insn->imm == 0))
                return refuse(flow, i, "it compares an address");
        r = go_to(flow, i, (int64_t) i + 1, state);
        return r < 0 ? r : go_to(flow, i, (int64_t) i + 1 + insn->off, state);
}

static int follow(Flow *flow, size_t i) {
        const struct bpf_insn *insn = &flow->insns[i];
        State state = flow->states[i];
        int r = 0;

        if (insn->dst_reg >= REGISTERS || insn->src_reg >= REGISTERS)
                return refuse(flow, i, "there is no such register");
        switch (BPF_CLASS(insn->code)) {
        case BPF_JMP:
        case BPF_JMP32:
                return jump(flow, i, &state);
        case BPF_LD:
                return wide_number(flow, i, &state);
        case BPF_LDX:
                r = load(flow, i, &state);
                break;
        case BPF_ST:
                r = store(flow, i, &state, number());
                break;
        case BPF_STX:
                r = BPF_MODE(insn->code) == BPF_ATOMIC ? atomic(flow, i, &state) : store(flow, i, &state, state.registers[insn->src_reg]);
                break;
        default:
                r = arithmetic(flow, i, &state);
        }
        return r < 0 ? r : go_to(flow, i, (int64_t) i + 1, &state);
}

int vet_flow(const char *name, const struct bpf_insn *insns, size_t n, Report *report) {
        _cleanup_free_ State *states = calloc(n + 1, sizeof *states);
        _cleanup_free_ uint16_t *waiting = calloc(n + 1, sizeof *waiting);
        _cleanup_free_ bool *is_waiting = calloc(n + 1, sizeof *is_waiting);
        Flow flow = {.name = name, .insns = insns, .n = n, .states = states, .waiting = waiting, .is_waiting = is_waiting, .report = report};
        State first = {.registers = {[1] = {.kind = VALUE}, [10] = {.kind = FRAME}}};
        int r;

        if (!states || !waiting || !is_waiting)
                return -ENOMEM;
        if (n > VET_INSTRUCTIONS_MAX)
                return report_fail(report, "size", "%s has %zu instructions", name, n);
        r = go_to(&flow, 0, 0, &first);
        while (r >= 0 && flow.n_waiting > 0) {
                size_t i = waiting[--flow.n_waiting];
                is_waiting[i] = false;
                r = follow(&flow, i);
        }
        return r;
}
