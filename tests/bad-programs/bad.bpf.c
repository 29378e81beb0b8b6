/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
/* Programs that must not come through: one source, CASE says what is wrong with it. GOOD is their neighbour, which is right: a file of two
 * pieces on device 1, of which the second is at 8 MiB. Compiled by tests/integration/bad-programs.sh. */

#define LICENCE 66
#define MEMBERS 67
#if CASE == LICENCE
#define FUSED_LICENSE "Dual BSD/GPL"
#endif

#include "fused-program.h"

#define GOOD 0
#define HELPER 1
#define SYSTEM 2
#define LOOP 3
#define ENDLESS 4
#define LARGE 5
#define HASH 6
#define HIDDEN 7
#define FOREIGN 8
#define NOTHING 9
#define NO_SAMPLE 10
#define DEVICE 11
#define EMPTY 12
#define UNALIGNED 13
#define PAST 14
#define OUTSIDE 15
#define OVERLAP 16
#define STRANGER 17
#define HOLE_FOR_WRITE 18
#define RETRY 19
#define HALF 20
#define FLAGS 21
#define GAP 22
#define LAST_BYTE 23
#define ONE_IN_THOUSAND 24
#define ONE_PLACE 25
#define CLOCK 26
#define TIRED 27
#define OPS_PAST 28
#define OPS_BEFORE 29
#define OPS_LAST 30
#define OPS_HELPER 31
#define OPS_FUNCTION 32
#define OPS_INNER 33
#define OPS_TEXT 34
#define OPS_KFUNC 35
#define OPS_TYPE 36
#define OPS_TWICE 37
#define OPS_SLEEPS 38
#define WRITELIE 39
#define WRITEHALF 40
#define ZEROLIE 41
#define ALIAS 42
#define SHARED 43
#define LONG 44
#define NODE 45
#define STATE 46
#define LEAK 47
#define RETURN_LEAK 48
#define ADDRESS 49
#define NUMBER 50
#define CALL 51
#define PACKET 52
#define ATOMIC 53
#define TAIL 54
#define GLOBALS 55
#define SLOW 56
#define TABLES 57
#define CONSTANTS 58
#define PINNED 59
#define EXTRA 60
#define NUMA 61
#define CONFIG 62
#define VARIABLE 63
#define FOLLOWED 64
#define NEW 65

#if CASE == OPS_TYPE /* in the place of what the header makes */
#undef _FUSED_OPS_FORM
#define _FUSED_OPS_FORM(program, variant, ...) struct no_##variant
#endif

struct bad_file {
        uint64_t nodeid, length;
};
FUSED_TABLE(files, struct bad_file, 4);

#if CASE == HASH
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16);
        __type(key, uint32_t);
        __type(value, uint64_t);
} table SEC(".maps");
#elif CASE == STATE || CASE == LEAK
FUSED_TABLE(table, uint64_t, 16);
#elif CASE == TABLES || CASE == CONSTANTS
FUSED_TABLE(table, uint64_t, 16);
static const volatile uint64_t constants[4] = {1, 2, 3, 4};
#if CASE == TABLES
FUSED_TABLE(t2, uint64_t, 16);
FUSED_TABLE(t3, uint64_t, 16);
FUSED_TABLE(t4, uint64_t, 16);
FUSED_TABLE(t5, uint64_t, 16);
FUSED_TABLE(t6, uint64_t, 16);
#endif
#elif CASE == PINNED || CASE == EXTRA || CASE == NUMA
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(map_flags, CASE == NUMA ? BPF_F_MMAPABLE | BPF_F_NUMA_NODE : BPF_F_MMAPABLE);
        __uint(max_entries, 16);
        __type(key, uint32_t);
        __type(value, uint64_t);
#if CASE == PINNED
        __uint(pinning, LIBBPF_PIN_BY_NAME);
#elif CASE == EXTRA
        __uint(map_extra, 5);
#endif
} table SEC(".maps");
#elif CASE == CONFIG
extern int CONFIG_HZ __kconfig;
#elif CASE == VARIABLE
uint64_t variable;
#elif CASE == HIDDEN
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 16);
        __type(key, uint32_t);
        __type(value, uint64_t);
} table SEC(".maps");
#endif

#if CASE == LOOP
static long nothing(uint32_t index, void *context) {
        return 0;
}
#endif

#if CASE == GLOBALS
/* Each is verified by itself, and together they run for a second. */
__attribute__((noinline)) int first(uint32_t x) {
        for (uint32_t i = 0; i < 500; i++)
                __asm__ volatile("" : "+r"(x));
        return (int) x;
}
__attribute__((noinline)) int second(uint32_t x) {
        for (uint32_t i = 0; i < 500; i++)
                x += (uint32_t) first(x);
        return (int) x;
}
__attribute__((noinline)) int third(uint32_t x) {
        for (uint32_t i = 0; i < 500; i++)
                x += (uint32_t) second(x);
        return (int) x;
}
#endif

/* An instruction by its number, of 16 bytes: an address for register 1. */
#define WIDE(kind, number) __asm__ volatile(".byte 0x18, " kind "1\n .short 0\n .long " number "\n .long 0\n .long 0" : : : "r1")
#define KERNEL_CALL __asm__ volatile("r1 = 0x1000\n r2 = 114\n .byte 0x85, 0x20\n .short 0\n .long 1000" : : : "r0", "r1", "r2", "r3", "r4", "r5")

#define USE(value) __asm__ volatile("" : : "r"(value))

/* What is wrong with the code itself. */
_fused_inline_ void code(struct fused_program_call *call) {
#if CASE == HELPER
        uint64_t word = 0;
        bpf_probe_read_kernel(&word, sizeof word, (void *) call->count);
        call->pos += word & 0;
#elif CASE == SYSTEM
        bpf_sys_close(1000);
#elif CASE == LOOP
        bpf_loop(1 << 20, nothing, NULL, 0);
#elif CASE == CLOCK
        call->pos += bpf_ktime_get_ns() & 0;
#elif CASE == TIRED
        __asm__ volatile(".long 0xe5; .long 0"); /* may_goto */
#elif CASE == ENDLESS
        for (uint64_t i = call->count | 1; i; i += 2)
                __asm__ volatile("" : "+r"(i));
#elif CASE == LARGE
        __asm__ volatile(".rept 5000; r0 = 1; .endr" : : : "r0");
#elif CASE == STATE
        uint64_t *state = fused_entry(table, 1);
        if (state)
                *state += 1;
#elif CASE == LEAK
        uint64_t *word = fused_entry(table, 1);
        if (word)
                *word = (uint64_t) word;
#elif CASE == ADDRESS
        WIDE("0x3", "1000"); /* of a variable of the kernel's */
#elif CASE == NUMBER
        WIDE("0x1", "3"); /* of the table that has this descriptor */
#elif CASE == CALL
        KERNEL_CALL;
#elif CASE == PACKET
        __asm__ volatile("r6 = r1\n .byte 0x20, 0\n .short 0\n .long 0" : : : "r0", "r1", "r2", "r3", "r4", "r5", "r6");
#elif CASE == TAIL
        __asm__ volatile("call 12" : : : "r0", "r1", "r2", "r3", "r4", "r5");
#elif CASE == GLOBALS
        USE(third((uint32_t) call->count));
#elif CASE == SLOW || CASE == FOLLOWED
#pragma clang loop unroll(disable)
        for (uint32_t i = 0; i < (CASE == SLOW ? 100 : 1000); i++) {
                USE(fused_entry(files, i));
                __asm__ volatile("r0 = 1; .rept 300; r0 /= 3; .endr" : : : "r0");
        }
#elif CASE == MEMBERS
        struct member {
                volatile int there;
        } __attribute__((preserve_access_index));
#define FOUR(x) x x x x
        FOUR(FOUR(FOUR(FOUR(USE(((struct member *) call)->there);))))
#elif CASE == CONFIG
        USE(CONFIG_HZ);
#elif CASE == VARIABLE
        USE(variable);
        variable++;
#elif CASE == CONSTANTS
        USE(constants[call->count & 3]);
#elif CASE == TABLES
        uint32_t key = 1;
        uint64_t sum = constants[call->count & 3];
#define ADD(name)                                       \
        {                                               \
                uint64_t *word = fused_entry(name, key); \
                sum += word ? *word : 0;                \
        }
        ADD(table) ADD(t2) ADD(t3) ADD(t4) ADD(t5) ADD(t6)
        USE(sum);
#elif CASE == HASH || CASE == HIDDEN
        uint32_t key = 1;
        uint64_t *value = bpf_map_lookup_elem(&table, &key);
        if (value && *value == 77)
                call->pos = 0;
#endif
}

static int bad_begin(struct fused_program_call *call) {
        uint64_t middle, pos = call->pos;
        struct bad_file *file;
        int verdict;

        code(call);
        file = fused_find(files, struct bad_file, call->nodeid);
        if (CASE == STRANGER && !file)
                return fused_mapped(call, 0, 1 << 20, 1, 0);
        if (!file || pos >= file->length)
                return FUSED_PROGRAM_FALLBACK;
        middle = file->length / 2;
        if (CASE == GAP && pos >= middle)
                return FUSED_PROGRAM_FALLBACK;
        if (pos < middle)
                verdict = fused_mapped(call, 0, middle, 1, 0);
        else
                verdict = fused_mapped(call, middle, file->length - middle, 1, 8 << 20);
        if (CASE == DEVICE)
                call->read.dev = 3;
        else if (CASE == EMPTY)
                call->read.length = 0;
        else if (CASE == UNALIGNED)
                call->read.addr += 100;
        else if (CASE == WRITELIE && call->opflags & FUSED_MAPPING_OP_WRITE)
                call->read.addr += 1 << 20;
        else if (CASE == ZEROLIE && call->opflags & (FUSED_MAPPING_OP_ZERO | FUSED_MAPPING_OP_UNSHARE))
                call->read.addr += 1 << 20;
        else if (CASE == ALIAS || CASE == SHARED)
                call->read.addr = 0, verdict = CASE == SHARED && call->opflags & FUSED_MAPPING_OP_CHANGES ? FUSED_PROGRAM_FALLBACK : verdict;
        else if (CASE == LONG && pos != 0 && pos < middle)
                call->read.length = call->write.length = middle + (1 << 20);
        else if (CASE == NODE && call->nodeid != 4711)
                call->read.addr += 100;
        else if (CASE == NEW)
                call->read.flags = FUSED_MAPPING_F_NEW;
        else if (CASE == PAST)
                call->read.addr = 1ULL << 40;
        else if (CASE == OUTSIDE && pos >= middle)
                call->read.offset = call->write.offset = 0, call->read.length = call->write.length = middle;
        else if (CASE == OVERLAP && pos >= middle)
                call->read.offset = call->write.offset = 0, call->read.length = call->write.length = file->length;
        else if (CASE == HOLE_FOR_WRITE)
                call->read.type = FUSED_MAPPING_HOLE, call->read.dev = 0, call->read.addr = FUSED_MAPPING_ADDR_NONE;
        else if (CASE == RETRY)
                call->read.type = FUSED_MAPPING_RETRY_CACHE;
        else if (CASE == HALF)
                call->write.length = 0;
        else if (CASE == FLAGS)
                call->read.flags = 0x400;
        else if ((CASE == LAST_BYTE && pos == middle - 1) || (CASE == ONE_IN_THOUSAND && pos % 1000 == 7) ||
                 (CASE == ONE_PLACE && pos == (1 << 20) + 12345))
                call->read.addr += 1 << 20;
        return verdict;
}

static int bad_sample(struct fused_sample_call *call) {
        struct bad_file *file = fused_sample_file(files, struct bad_file, call->nodeid);

        if (!file || CASE == NOTHING)
                return 0;
        file->length = call->file_size = 8 << 20;
        return 0;
}

#if CASE == HALF || CASE == WRITEHALF || CASE == ATOMIC || CASE == RETURN_LEAK /* past what the header does */
SEC("syscall") int bad_run(struct fused_program_call *context) {
        struct fused_program_call call = {.nodeid = context->nodeid, .pos = context->pos, .count = context->count, .opflags = context->opflags};
        int verdict = _fused_overwrite(&call, bad_begin(&call));

        if (CASE == HALF)
                call.write.length = 0;
        else if (CASE == WRITEHALF && call.opflags & FUSED_MAPPING_OP_WRITE)
                call.write = call.read, call.write.addr = 16 << 20;
        context->read = call.read;
        context->write = call.write;
        context->verdict = (uint32_t) verdict;
#if CASE == ATOMIC
        __sync_fetch_and_add(&context->read.addr, 1 << 20);
#elif CASE == RETURN_LEAK
        __asm__ volatile("%0 = r10" : "=r"(context->read.addr));
#endif
        return verdict;
}
#else
FUSED_PROGRAM(bad);
#endif
#if CASE != NO_SAMPLE
FUSED_SAMPLE(bad);
#endif

#if CASE == FOREIGN
SEC("xdp") int other(void *context) {
        return 0;
}
#endif

/* What is only in a form for struct_ops, which no kernel without fuse-iomap looks at. OPS_LAST is the neighbour that is right. */
#if CASE == OPS_PAST || CASE == OPS_BEFORE || CASE == OPS_LAST
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        char *out = (void *) arguments[4];

        *(volatile uint32_t *) (out + (CASE == OPS_PAST ? 61 : CASE == OPS_BEFORE ? -4 : 60)) = 1;
        return 0;
}
#elif CASE == OPS_HELPER
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        return bpf_probe_read_kernel((void *) arguments[4], 8, (void *) arguments[0]);
}
#elif CASE == OPS_FUNCTION
extern int fuse_bpf_iomap_inval_mappings(void *inode, void *read, void *write) SEC(".ksyms");
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        return fuse_bpf_iomap_inval_mappings((void *) arguments[0], NULL, NULL);
}
#elif CASE == OPS_TEXT
__attribute__((noinline)) int writes(uint64_t *arguments) {
        char *out = (void *) arguments[4];

        *(volatile uint64_t *) (out + 4096) = 1;
        return 0;
}
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        return writes(arguments);
}
#elif CASE == OPS_KFUNC
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        KERNEL_CALL;
        return 0;
}
#elif CASE == OPS_TYPE
struct tcp_congestion_ops {
        uint32_t (*ssthresh)(uint64_t *arguments);
        uint32_t (*undo_cwnd)(uint64_t *arguments);
        void (*cong_avoid)(uint64_t *arguments);
        char name[16];
};
SEC("struct_ops/iomap_begin") uint32_t ssthresh_b1(uint64_t *arguments) {
        return 2;
}
SEC("struct_ops/iomap_begin") uint32_t undo_cwnd_b1(uint64_t *arguments) {
        return 2;
}
SEC("struct_ops/iomap_begin") void cong_avoid_b1(uint64_t *arguments) {}
SEC(".struct_ops") struct tcp_congestion_ops other_ops_b1 = {
        .ssthresh = ssthresh_b1, .undo_cwnd = undo_cwnd_b1, .cong_avoid = cong_avoid_b1, .name = "fused_bad"};
#elif CASE == OPS_TWICE
SEC(".struct_ops") struct fuse_iomap_bpf_ops other_ops_b1 = {.iomap_begin = bad_b1, .fuse_fd = FUSED_PROGRAM_LINK_FD, .name = "bad"};
#elif CASE == OPS_SLEEPS
SEC("struct_ops.s/iomap_begin") int bad_extra(uint64_t *arguments) {
        return 0;
}
#elif CASE == OPS_INNER
static __attribute__((noinline)) long inner(uint64_t *arguments) {
        return bpf_probe_read_kernel((void *) arguments[4], 8, (void *) arguments[0]);
}
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        return inner(arguments);
}
#endif
