/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The struct_ops forms of a program, compiled as ordinary C with types that stand for the kernel's: whatever they are called with, each says what the
 * `syscall` form says, in its kernel's words. No kernel here runs them. */

#define FUSED_NATIVE
#include "fused-program.h"
#include PROGRAM_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DEVICES 3
#define BLOCK 4096U
#define N_ENTRIES 8192

#define JOIN(a, b) a##b
#define NAME_OF(program, form) JOIN(program, form)
#define STRING_OF(program) #program
#define NAME_STRING(program) STRING_OF(program)
#define FORM(form) NAME_OF(PROGRAM, form)

static const uint64_t sizes[DEVICES] = {1ULL << 26, 3ULL << 24, 1ULL << 27};

#define BIND(table)                                                     \
        do {                                                            \
                (table).data = calloc(N_ENTRIES, sizeof *(table).data); \
                (table).n = N_ENTRIES;                                  \
                assert_non_null((table).data);                          \
        } while (0)

static int make_tables(void **state) {
        BIND(files);
        BIND(devices);
#ifdef HAS_EXTENTS
        BIND(extents);
#endif
#ifdef HAS_SEGMENTS
        BIND(segments);
#endif
        for (uint32_t i = 1; i <= FUSED_PROGRAM_DEVICES_MAX; i++)
                devices.data[i] = 100 + i;
        return 0;
}

static int free_tables(void **state) {
        free(files.data);
        free(devices.data);
#ifdef HAS_EXTENTS
        free(extents.data);
#endif
#ifdef HAS_SEGMENTS
        free(segments.data);
#endif
        return 0;
}

/* ---- in the place of the kernel ------------------------------------------------------------------------------------- */

static struct fuse_bpf_inode *handle; /* an address, and nothing behind it */
static uint64_t handle_node;

uint64_t fuse_bpf_inode_nodeid(struct fuse_bpf_inode *inode) {
        assert_ptr_equal(inode, handle);
        return handle_node;
}

typedef struct Form {
        const char *name;
        const struct fuse_iomap_bpf_ops *ops;
        int (*begin)(uint64_t *arguments);
        int handled, falls_back;     /* in that kernel's words */
        uint64_t (*argument)(uint64_t nodeid); /* what it hands over for the file */
} Form;

static uint64_t number(uint64_t nodeid) {
        return nodeid;
}

static uint64_t inode(uint64_t nodeid) {
        static struct fuse_inode inode;

        inode.nodeid = nodeid;
        return (uintptr_t) &inode;
}

static uint64_t opaque(uint64_t nodeid) {
        static char somewhere;

        handle = (void *) &somewhere;
        handle_node = nodeid;
        return (uintptr_t) handle;
}

static const Form forms[] = {
        {"b1", &FORM(_ops_b1), FORM(_b1), 0, -38, number},
        {"b2", &FORM(_ops_b2), FORM(_b2), 1, 0, number},
        {"b3", &FORM(_ops_b3), FORM(_b3), 1, 0, inode},
        {"b5", &FORM(_ops_b5), FORM(_b5), 1, 0, opaque},
};

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

static uint64_t fill(uint64_t nodeid, uint64_t seed) {
        struct fused_sample_call call = {.nodeid = nodeid, .seed = seed, .n_devices = DEVICES, .block_size = BLOCK};

        memcpy(call.device_size, sizes, sizeof sizes);
        assert_int_equal(FORM(_fill)(&call), 0);
        return call.file_size;
}

/* Returns whether it was handled. What is not leaves the kernel's record as it was: zeroes. */
static bool compare(uint64_t nodeid, uint64_t pos, uint64_t count, uint32_t opflags) {
        struct fused_program_call call = {.nodeid = nodeid, .pos = pos, .count = count, .opflags = opflags};
        const bool handled = FORM(_run)(&call) == FUSED_PROGRAM_HANDLED;

        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
                const Form *form = &forms[i];
                struct fuse_iomap_begin_out out = {0};
                const struct fuse_iomap_begin_out nothing = {0};
                /* the upper half of a 32 bit argument may hold anything */
                uint64_t arguments[] = {form->argument(nodeid), pos, count, opflags | 0xdeadULL << 32, (uintptr_t) &out};
                const int r = form->begin(arguments);
                if (r != (handled ? form->handled : form->falls_back))
                        fail_msg("%s: %d for position %llu", form->name, r, (unsigned long long) pos);
                if (handled ? memcmp(&out.read, &call.read, sizeof out.read) != 0 || memcmp(&out.write, &call.write, sizeof out.write) != 0
                            : memcmp(&out, &nothing, sizeof out) != 0)
                        fail_msg("%s: other mappings at position %llu", form->name, (unsigned long long) pos);
        }
        return handled;
}

static void test_answers(void **state) {
        static const uint32_t opflags[] = {0, FUSED_MAPPING_OP_DIRECT, FUSED_MAPPING_OP_REPORT, FUSED_MAPPING_OP_WRITE, FUSED_MAPPING_OP_WRITEBACK,
                                           FUSED_MAPPING_OP_ZERO, FUSED_MAPPING_OP_UNSHARE, FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_DIRECT};
        unsigned n_handled = 0, n_not = 0;

        for (uint64_t seed = 1; seed < 12; seed++) {
                const uint64_t nodeid = 2 + seed * 0x100000001ULL, length = fill(nodeid, seed * 0x9e3779b97f4a7c15ULL);
                assert_true(length > 0);
                for (unsigned i = 0; i < 500; i++) {
                        const uint64_t pos = ((uint64_t) rand() << 24 ^ (uint64_t) rand()) % (length + length / 8);
                        const uint64_t count = 1 + (uint64_t) rand() % (i & 1 ? 4096 : length * 4);
                        const bool handled = compare(nodeid, pos, count, opflags[(unsigned) rand() % (sizeof opflags / sizeof opflags[0])]);
                        n_handled += handled;
                        n_not += !handled;
                }
                assert_true(compare(nodeid, 0, length, FUSED_MAPPING_OP_DIRECT) || compare(nodeid, length - 1, 1, 0));
                assert_false(compare(nodeid + 1, 0, 1, 0)); /* another file */
                assert_false(compare(nodeid, UINT64_MAX, 1, 0));
                files.data[1].nodeid = 0;
                assert_false(compare(nodeid, 0, 1, 0));
        }
        assert_true(n_handled > 100 && n_not > 100);
}

/* What the kernel is given with a form: where its connection is, and a name. */
static void test_values(void **state) {
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
                assert_ptr_equal(forms[i].ops->iomap_begin, forms[i].begin);
                assert_int_equal(forms[i].ops->fuse_fd, 3);
                assert_int_equal(forms[i].ops->zeropad, 0);
                assert_string_equal(forms[i].ops->name, NAME_STRING(PROGRAM));
        }
        assert_int_equal(sizeof(struct fuse_iomap_begin_out), 64);
        assert_int_equal(offsetof(struct fuse_iomap_begin_out, write), 32);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_answers, make_tables, free_tables),
                cmocka_unit_test(test_values),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
