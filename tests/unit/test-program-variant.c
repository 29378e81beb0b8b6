/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which interface a kernel has, told from type information that is made up here, in the form of each variant and of those that look like one. */

#include "variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef enum Handle {
        HANDLE_NONE, /* there is no iomap_begin at all */
        HANDLE_NUMBER,
        HANDLE_TYPEDEF,
        HANDLE_STRUCT,
        HANDLE_FORWARD,
        HANDLE_CONST,
} Handle;

typedef struct Case {
        const char *what;
        const char *ops;      /* the struct's name, NULL: none */
        Handle handle;
        const char *structure; /* what the handle points to */
        bool returns_enum;
        int n_parameters;
        const char *functions[2];
        Variant variant;
} Case;

#define OPS "fuse_iomap_bpf_ops"

static const Case cases[] = {
        {"nothing", NULL, HANDLE_NONE, NULL, false, 0, {NULL}, VARIANT_NONE},
        {"a stock kernel's functions", NULL, HANDLE_NONE, NULL, false, 0, {"fuse_iomap_begin", "fuse_iomap_read_folio_range"}, VARIANT_NONE},
        {"a struct of a like name", "fuse_iomap_ops", HANDLE_NUMBER, NULL, true, 5, {"fuse_iomap_begin"}, VARIANT_NONE},
        {"a longer name", OPS "_stats", HANDLE_NUMBER, NULL, true, 5, {NULL}, VARIANT_NONE},
        {"only functions for the cache", NULL, HANDLE_NONE, NULL, false, 0, {"fuse_bpf_iomap_upsert_mappings", "fuse_bpf_inode_nodeid"},
         VARIANT_NONE},
        {"for all mounts", "fuse_bpf_ops", HANDLE_STRUCT, "inode", false, 5, {NULL}, VARIANT_B0},
        {"number, errno", OPS, HANDLE_NUMBER, NULL, false, 5, {NULL}, VARIANT_B1},
        {"number by another name, errno", OPS, HANDLE_TYPEDEF, NULL, false, 5, {NULL}, VARIANT_B1},
        {"number, enum", OPS, HANDLE_NUMBER, NULL, true, 5, {NULL}, VARIANT_B2},
        {"number by another name, enum", OPS, HANDLE_TYPEDEF, NULL, true, 5, {"fuse_iomap_begin"}, VARIANT_B2},
        {"struct", OPS, HANDLE_STRUCT, "fuse_inode", true, 5, {NULL}, VARIANT_B3},
        {"const struct", OPS, HANDLE_CONST, "fuse_inode", true, 5, {NULL}, VARIANT_B3},
        {"struct declared elsewhere", OPS, HANDLE_FORWARD, "fuse_inode", true, 5, {NULL}, VARIANT_B3},
        {"struct, cache", OPS, HANDLE_STRUCT, "fuse_inode", true, 5, {"fuse_bpf_iomap_upsert_mappings"}, VARIANT_B4},
        {"handle", OPS, HANDLE_STRUCT, "fuse_bpf_inode", true, 5, {"fuse_bpf_iomap_upsert_mappings", "fuse_bpf_inode_nodeid"}, VARIANT_B5},
        {"handle, forward", OPS, HANDLE_FORWARD, "fuse_bpf_inode", true, 5, {"fuse_bpf_inode_nodeid"}, VARIANT_B5},
        {"handle that tells nothing", OPS, HANDLE_STRUCT, "fuse_bpf_inode", true, 5, {NULL}, VARIANT_UNKNOWN},
        {"another struct", OPS, HANDLE_STRUCT, "inode", true, 5, {NULL}, VARIANT_UNKNOWN},
        {"one argument more", OPS, HANDLE_NUMBER, NULL, true, 6, {NULL}, VARIANT_UNKNOWN},
        {"one argument less", OPS, HANDLE_STRUCT, "fuse_inode", true, 4, {NULL}, VARIANT_UNKNOWN},
        {"no iomap_begin", OPS, HANDLE_NONE, NULL, false, 0, {NULL}, VARIANT_UNKNOWN},
};

static int checked(int id) {
        assert_true(id > 0);
        return id;
}

static int add_handle(struct btf *btf, const Case *c, int number) {
        int id;

        switch (c->handle) {
        case HANDLE_NONE:
        case HANDLE_NUMBER:
                return number;
        case HANDLE_TYPEDEF:
                return checked(btf__add_typedef(btf, "u64", checked(btf__add_typedef(btf, "__u64", number))));
        case HANDLE_STRUCT:
        case HANDLE_CONST:
                id = checked(btf__add_struct(btf, c->structure, strcmp(c->structure, "fuse_inode") == 0 ? 8 : 0));
                if (strcmp(c->structure, "fuse_inode") == 0)
                        assert_int_equal(btf__add_field(btf, "nodeid", number, 0, 0), 0);
                if (c->handle == HANDLE_CONST)
                        id = checked(btf__add_const(btf, id));
                return checked(btf__add_ptr(btf, id));
        case HANDLE_FORWARD:
                return checked(btf__add_ptr(btf, checked(btf__add_fwd(btf, c->structure, BTF_FWD_STRUCT))));
        }
        return -1;
}

static void add_begin(struct btf *btf, const Case *c, int number, int narrow, int *ret) {
        int returned = narrow, handle = add_handle(btf, c, number), proto;

        if (c->returns_enum) {
                returned = checked(btf__add_enum(btf, "fuse_iomap_bpf_ret", 4));
                assert_int_equal(btf__add_enum_value(btf, "FIB_FALLBACK", 0), 0);
                assert_int_equal(btf__add_enum_value(btf, "FIB_HANDLED", 1), 0);
        }
        proto = checked(btf__add_func_proto(btf, returned));
        for (int i = 0; i < c->n_parameters; i++)
                assert_int_equal(btf__add_func_param(btf, "", i == 0 ? handle : number), 0);
        *ret = checked(btf__add_ptr(btf, proto));
}

/* Types for the case, in one piece, or as those of a module on top of a kernel's. */
static struct btf *make(const Case *c, struct btf *base) {
        struct btf *btf = base ? btf__new_empty_split(base) : btf__new_empty();
        int number, narrow, begin = 0, proto;

        assert_non_null(btf);
        number = checked(btf__add_int(btf, "unsigned long long", 8, 0));
        narrow = checked(btf__add_int(btf, "int", 4, BTF_INT_SIGNED));
        if (c->handle != HANDLE_NONE)
                add_begin(btf, c, number, narrow, &begin);
        if (c->ops) {
                checked(btf__add_struct(btf, c->ops, 16));
                assert_int_equal(btf__add_field(btf, "iomap_end", number, 0, 0), 0);
                if (begin > 0)
                        assert_int_equal(btf__add_field(btf, "iomap_begin", begin, 64, 0), 0);
        }
        proto = checked(btf__add_func_proto(btf, narrow));
        for (size_t i = 0; i < 2 && c->functions[i]; i++)
                checked(btf__add_func(btf, c->functions[i], BTF_FUNC_STATIC, proto));
        return btf;
}

static void test_variants(void **state) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (int split = 0; split < 2; split++) {
                        struct btf *base = split ? btf__new_empty() : NULL, *btf = make(&cases[i], base);
                        if (variant_of(btf) != cases[i].variant)
                                fail_msg("%s%s: %s, not %s", cases[i].what, split ? " in a module" : "", variant_to_string(variant_of(btf)),
                                         variant_to_string(cases[i].variant));
                        btf__free(btf);
                        btf__free(base);
                }
}

/* A member of the right name that is no pointer to a function. */
static void test_odd_member(void **state) {
        struct btf *btf = btf__new_empty();
        int number = checked(btf__add_int(btf, "u64", 8, 0));

        checked(btf__add_struct(btf, OPS, 8));
        assert_int_equal(btf__add_field(btf, "iomap_begin", number, 0, 0), 0);
        assert_int_equal(variant_of(btf), VARIANT_UNKNOWN);
        btf__free(btf);
}

/* Every variant that a program can serve has a form, and none other. */
static void test_forms(void **state) {
        static const char *const forms[_VARIANT_MAX] = {
                [VARIANT_B1] = "b1", [VARIANT_B2] = "b2", [VARIANT_B3] = "b3", [VARIANT_B4] = "b3", [VARIANT_B5] = "b5"};

        for (Variant v = 0; v < _VARIANT_MAX; v++) {
                assert_non_null(variant_to_string(v));
                if (forms[v])
                        assert_string_equal(variant_form(v), forms[v]);
                else
                        assert_null(variant_form(v));
        }
}

/* Whatever this kernel is, the answer is one of the known, and the same each time. */
static void test_this_kernel(void **state) {
        Variant variant = variant_of_kernel(NULL);

        assert_true(variant >= VARIANT_NONE && variant < _VARIANT_MAX);
        assert_int_equal(variant_of_kernel(NULL), variant);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_variants),
                cmocka_unit_test(test_odd_member),
                cmocka_unit_test(test_forms),
                cmocka_unit_test(test_this_kernel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
