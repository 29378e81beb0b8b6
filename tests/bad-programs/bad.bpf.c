/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
/* Programs that must not come through: one source, CASE says what is wrong with it. GOOD is their neighbour, which is right: a file of two
 * pieces on device 1, of which the second is at 8 MiB. Compiled by tests/integration/bad-programs.sh. */

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
#elif CASE == HASH || CASE == HIDDEN
        uint32_t key = 1;
        uint64_t *value = bpf_map_lookup_elem(&table, &key);
        if (value && *value == 77)
                call->pos = 0;
#endif
}

static int bad_begin(struct fused_program_call *call) {
        struct bad_file *file = fused_find(files, struct bad_file, call->nodeid);
        uint64_t middle, pos = call->pos;
        int verdict;

        code(call);
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

FUSED_PROGRAM(bad);
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
#elif CASE == OPS_INNER
static __attribute__((noinline)) long inner(uint64_t *arguments) {
        return bpf_probe_read_kernel((void *) arguments[4], 8, (void *) arguments[0]);
}
SEC("struct_ops/iomap_begin") int bad_extra(uint64_t *arguments) {
        return inner(arguments);
}
#endif
