/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The programs `extents` and `learned`, compiled as ordinary C from the very source that becomes BPF, against a naive search: files of
 * every kind of layout, every position that matters. And the builder that fills their tables. */

#define FUSED_NATIVE
#include "fused-program.h"
#include PROGRAM_SOURCE

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "program/extents.h"

#define N_FILES 64
#define N_EXTENTS 20000
#define N_SEGMENTS 4096
#define BLOCK 4096ULL
#define DEVICES 3

static struct {
        struct extents_file files[N_FILES + 1];
        struct extents_extent extents[N_EXTENTS];
        struct learned_segment segments[N_SEGMENTS];
        uint64_t cookies[FUSED_PROGRAM_DEVICES_MAX + 1];
        ExtentTables *tables;
} world;

static int set_up(void **state) {
        memset(&world, 0, sizeof world);
        for (uint64_t i = 1; i <= DEVICES; i++)
                world.cookies[i] = 100 + i;
        devices.data = world.cookies;
        devices.n = FUSED_PROGRAM_DEVICES_MAX + 1;
        files.data = world.files;
        files.n = N_FILES + 1;
        extents.data = world.extents;
        extents.n = N_EXTENTS;
#ifdef HAS_SEGMENTS
        segments.data = world.segments;
        segments.n = N_SEGMENTS;
        return extent_tables_new(world.files, N_FILES + 1, world.extents, N_EXTENTS, world.segments, N_SEGMENTS, &world.tables);
#else
        return extent_tables_new(world.files, N_FILES + 1, world.extents, N_EXTENTS, NULL, 0, &world.tables);
#endif
}

static int tear_down(void **state) {
        world.tables = extent_tables_free(world.tables);
        return 0;
}

typedef struct Layout {
        struct extents_extent extents[N_EXTENTS];
        uint32_t n;
        uint64_t length;
} Layout;

static Layout layout;

typedef enum Kind { CONTIGUOUS, REGULAR, FRAGMENTED, SPARSE, ADVERSARIAL, _KINDS } Kind;

/* Adversarial: extents of one block and of very many take turns in ever longer runs, so that no line fits for long. */
static void make(Kind kind, uint32_t n, unsigned seed) {
        uint64_t offset = kind == SPARSE ? 7 * BLOCK : 0;

        srand(seed);
        layout.n = n;
        for (uint32_t i = 0; i < n; i++) {
                uint64_t blocks = kind == FRAGMENTED || kind == SPARSE ? 1 + (uint64_t) rand() % 9
                                  : kind == ADVERSARIAL ? ((i * (i + seed) / 37) % 2 ? 1 : 100 + (uint64_t) rand() % 1000) : 2;
                if (kind == SPARSE && rand() % 3 == 0)
                        offset += BLOCK * (uint64_t) (1 + rand() % 500);
                layout.extents[i] = (struct extents_extent){
                        .offset = offset, .length = blocks * BLOCK,
                        .addr = EXTENTS_PACK(1 + (uint32_t) rand() % DEVICES, (uint64_t) rand() * BLOCK)};
                offset += blocks * BLOCK;
        }
        layout.length = offset + (kind == SPARSE ? 11 * BLOCK : 0);
}

static void check(uint64_t nodeid, uint64_t pos) {
        struct fused_program_call call = {.nodeid = nodeid, .pos = pos, .count = 1};
        const struct extents_extent *in = NULL;
        int verdict = PROGRAM_BEGIN(&call);
        uint32_t low = 0, high = layout.n;

        if (pos >= layout.length) {
                assert_int_equal(verdict, FUSED_PROGRAM_FALLBACK);
                return;
        }
        while (low < high) {
                uint32_t middle = (low + high) / 2;
                if (layout.extents[middle].offset <= pos)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low > 0 && pos - layout.extents[low - 1].offset < layout.extents[low - 1].length)
                in = &layout.extents[low - 1];
        if (verdict != FUSED_PROGRAM_HANDLED)
                fail_msg("position %llu of %u extents: not found", (unsigned long long) pos, layout.n);
        assert_true(call.read.offset <= pos && pos - call.read.offset < call.read.length);
        assert_int_equal(call.write.type, FUSED_MAPPING_PURE_OVERWRITE);
        assert_true(call.write.offset == call.read.offset && call.write.length == call.read.length);
        if (in) {
                assert_int_equal(call.read.type, FUSED_MAPPING_MAPPED);
                assert_int_equal(call.read.offset, in->offset);
                assert_int_equal(call.read.length, in->length);
                assert_int_equal(call.read.addr, EXTENTS_ADDR(in->addr));
                assert_int_equal(call.read.dev, 100 + EXTENTS_DEVICE(in->addr));
                return;
        }
        assert_int_equal(call.read.type, FUSED_MAPPING_HOLE);
        assert_int_equal(call.read.offset, low > 0 ? layout.extents[low - 1].offset + layout.extents[low - 1].length : 0);
        assert_int_equal(call.read.offset + call.read.length, low < layout.n ? layout.extents[low].offset : layout.length);
        call = (struct fused_program_call){.nodeid = nodeid, .pos = pos, .count = 1, .opflags = FUSED_MAPPING_OP_WRITE};
        assert_int_equal(PROGRAM_BEGIN(&call), FUSED_PROGRAM_FALLBACK); /* somebody has to allocate */
}

static void test_every_position(void **state) {
        static const uint32_t counts[] = {0, 1, 2, 15, 16, 17, 500, 15000};

        for (Kind kind = 0; kind < _KINDS; kind++)
                for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                        make(kind, counts[c], 1000 * kind + (unsigned) c);
                        if (counts[c] == 0)
                                layout.length = 10 * BLOCK;
                        assert_int_equal(extent_tables_put(world.tables, 7, layout.length, layout.extents, layout.n), 0);
                        for (uint32_t i = 0; i < layout.n; i++) {
                                const struct extents_extent *e = &layout.extents[i];
                                check(7, e->offset);
                                check(7, e->offset + e->length / 2);
                                check(7, e->offset + e->length - 1);
                                check(7, e->offset + e->length);
                                if (e->offset > 0)
                                        check(7, e->offset - 1);
                        }
                        for (unsigned i = 0; i < 2000; i++)
                                check(7, ((uint64_t) rand() << 20 ^ (uint64_t) rand()) % (layout.length + 3 * BLOCK));
                        check(7, UINT64_MAX);
                        extent_tables_remove(world.tables, 7);
                }
}

/* Files come and go; each is found, none is found that is not there, and no room is lost. */
static void test_tables(void **state) {
        uint32_t put = 0;

        for (unsigned round = 0; round < 20; round++) {
                make(round % _KINDS, 300, round);
                for (put = 0; put < 2 * N_FILES; put++) {
                        int r = extent_tables_put(world.tables, 1000 + put, layout.length, layout.extents, layout.n);
                        if (r == -ENOSPC)
                                break;
                        assert_int_equal(r, 0);
                }
                assert_true(put >= 16);
                assert_int_equal(extent_tables_put(world.tables, 1000, layout.length, layout.extents, layout.n), -EEXIST);
                for (uint32_t i = 0; i < put; i++)
                        check(1000 + i, layout.extents[i].offset);
                struct fused_program_call call = {.nodeid = 1000 + put, .count = 1};
                assert_int_equal(PROGRAM_BEGIN(&call), FUSED_PROGRAM_FALLBACK);
                for (uint32_t i = 0; i < put; i++)
                        extent_tables_remove(world.tables, 1000 + (i * 7) % put);
                for (uint32_t i = 0; i < put; i++)
                        extent_tables_remove(world.tables, 1000 + i);
        }
        make(REGULAR, N_EXTENTS, 1); /* all the room is there again */
        assert_int_equal(extent_tables_put(world.tables, 5, layout.length, layout.extents, layout.n), 0);
}

static void test_refused(void **state) {
        make(REGULAR, 4, 1);
        assert_int_equal(extent_tables_put(world.tables, 0, layout.length, layout.extents, 4), -EINVAL);
        assert_int_equal(extent_tables_put(world.tables, 5, layout.length - 1, layout.extents, 4), -EINVAL);
        layout.extents[2].offset -= BLOCK; /* overlaps */
        assert_int_equal(extent_tables_put(world.tables, 5, layout.length, layout.extents, 4), -EINVAL);
        layout.extents[2].offset += BLOCK;
        layout.extents[2].length = 0;
        assert_int_equal(extent_tables_put(world.tables, 5, layout.length, layout.extents, 4), -EINVAL);
}

/* The bound that a model promises holds for every byte's extent, by the program's own arithmetic. */
static void test_model(void **state) {
        LearnedModel model;

        for (Kind kind = 0; kind < _KINDS; kind++) {
                make(kind, 15000, kind);
                int r = learned_model_build(layout.extents, layout.n, 8, &model);
                if (r < 0) {
                        assert_int_equal(r, -E2BIG);
                        assert_true(kind == ADVERSARIAL);
                        continue;
                }
                if (kind == REGULAR || kind == CONTIGUOUS) {
                        assert_true(model.n <= 2);
                        assert_true(learned_steps(&model) < extents_steps(layout.n));
                }
                for (uint32_t s = 0, i = 0; i < layout.n; i++) {
                        while (s + 1 < model.n && model.segments[s + 1].from <= layout.extents[i].offset)
                                s++;
                        const struct learned_segment *m = &model.segments[s];
                        for (uint64_t at = layout.extents[i].offset; at < layout.extents[i].offset + layout.extents[i].length; at += 512) {
                                uint64_t guess = m->base + (((at - m->from) >> LEARNED_UNIT) * m->slope >> 32);
                                assert_true((guess > i ? guess - i : i - guess) <= m->error);
                        }
                }
                learned_model_done(&model);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_every_position, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tables, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test(test_model),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
