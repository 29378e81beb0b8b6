/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each rule of a mapping: what breaks it, and the nearest thing that does not. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NONE FUSED_MAPPING_ADDR_NONE
#define BLOCK 4096U
#define MAX (1ULL << 40)

typedef struct Row {
        const char *rule; /* part of the words, NULL: it is fine */
        struct fused_mapping mapping;
        bool write, upsert;
        uint64_t pos;
} Row;

static const Row rows[] = {
        /* types */
        {NULL, {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 0},
        {NULL, {0, BLOCK, 0, FUSED_MAPPING_UNWRITTEN, 0, 1}, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 0}, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_DELALLOC, 0, 0}, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_INLINE, 0, 0}, .pos = 0},
        {"unknown type", {0, BLOCK, NONE, 5, 0, 0}, .pos = 0},
        {"unknown type", {0, BLOCK, NONE, 252, 0, 0}, .pos = 0},
        {"unknown type", {0, BLOCK, NONE, 256, 0, 0}, .pos = 0},
        {"PURE_OVERWRITE", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, .write = true, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .pos = 0},
        {"RETRY_CACHE", {0, BLOCK, NONE, FUSED_MAPPING_RETRY_CACHE, 0, 0}, .upsert = true, .pos = UINT64_MAX},
        {"NOCACHE", {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 0, 0}, .pos = 0},
        {NULL, {0, BLOCK, NONE, FUSED_MAPPING_NOCACHE, 0, 0}, .upsert = true, .pos = UINT64_MAX},
        /* flags */
        {NULL, {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0xff, 1}, .pos = 0},
        {"unknown flags", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0x100, 1}, .pos = 0},
        {"flags where", {0, BLOCK, NONE, FUSED_MAPPING_PURE_OVERWRITE, 1, 0}, .write = true, .pos = 0},
        /* range */
        {"length 0", {0, 0, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 0},
        {"offset that is no multiple", {512, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 512},
        {"length that is no multiple", {0, BLOCK + 512, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 0},
        {"wrap", {MAX - BLOCK, UINT64_MAX - BLOCK + 1, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = MAX - BLOCK},
        {"largest file", {MAX, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = MAX},
        {NULL, {MAX - BLOCK, 2 * BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = MAX - 1}, /* it may end past it */
        {"does not contain", {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = BLOCK - 1},
        {NULL, {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = BLOCK},
        {NULL, {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 2 * BLOCK - 1},
        {"does not contain", {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 2 * BLOCK},
        {NULL, {BLOCK, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 1}, .upsert = true, .pos = UINT64_MAX},
        /* place */
        {"no device", {0, BLOCK, 0, FUSED_MAPPING_MAPPED, 0, 0}, .pos = 0},
        {"no address", {0, BLOCK, NONE, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 0},
        {"no device", {0, BLOCK, 0, FUSED_MAPPING_UNWRITTEN, 0, 0}, .pos = 0},
        {"device where", {0, BLOCK, NONE, FUSED_MAPPING_HOLE, 0, 1}, .pos = 0},
        {"address where", {0, BLOCK, 0, FUSED_MAPPING_HOLE, 0, 0}, .pos = 0},
        {"address where", {0, BLOCK, 0, FUSED_MAPPING_PURE_OVERWRITE, 0, 0}, .write = true, .pos = 0},
        {"address and length", {0, 2 * BLOCK, UINT64_MAX - BLOCK, FUSED_MAPPING_MAPPED, 0, 1}, .pos = 0},
};

static void test_rules(void **state) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const Row *row = &rows[i];
                const char *rule = "untouched";
                int r = fused_mapping_check(&row->mapping, row->write, row->upsert, row->pos, BLOCK, MAX, &rule);
                if (r != (row->rule ? -EUCLEAN : 0) || (row->rule ? !rule || !strstr(rule, row->rule) : rule != NULL))
                        fail_msg("row %zu: %d, %s; expected %s", i, r, rule ? rule : "fine", row->rule ? row->rule : "fine");
                assert_int_equal(fused_mapping_check(&row->mapping, row->write, row->upsert, row->pos, BLOCK, MAX, NULL), r);
        }
}

/* The unit is the mount's block size, not a constant. */
static void test_block_sizes(void **state) {
        for (uint32_t size = 512; size <= 65536; size *= 2) {
                struct fused_mapping m = {size, size, 0, FUSED_MAPPING_MAPPED, 0, 1};
                assert_int_equal(fused_mapping_check(&m, false, false, size, size, MAX, NULL), 0);
                assert_int_equal(fused_mapping_check(&m, false, false, size, 2 * size, MAX, NULL), -EUCLEAN);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_block_sizes)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
