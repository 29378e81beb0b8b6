/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs run while the server changes their tables. A file comes and goes under the same node id, each time with another layout, in room that
 * others have had: every answer is one of a layout that was there, whole, or none. The program is the native form of the real source. */

#define FUSED_NATIVE
#include "fused-program.h"
#include PROGRAM_SOURCE

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "program/extents.h"

#define N_FILES 17
#define N_EXTENTS 400
#define N_SEGMENTS 64
#define BLOCK 4096ULL
#define UNIT (60 * BLOCK) /* every layout's extents divide it */
#define READERS 3
#define ROUNDS 40000

static struct extents_file file_table[N_FILES];
static struct extents_extent extent_table[N_EXTENTS];
#ifdef HAS_SEGMENTS
static struct learned_segment segment_table[N_SEGMENTS];
#define SEGMENT_TABLE segment_table
#else
#define SEGMENT_TABLE NULL
#endif
static uint64_t cookies[FUSED_PROGRAM_DEVICES_MAX + 1];
static atomic_bool stop;
static atomic_ulong answers, fallbacks, wrong;

/* Layout g of file `nodeid`: extents of g + 1 blocks each, at an address that says whose they are and where in the file. */
static uint64_t address(uint64_t nodeid, uint64_t g, uint64_t offset) {
        return nodeid << 48 | g << 40 | offset;
}

static uint32_t layout(uint64_t nodeid, uint64_t g, struct extents_extent *ret) {
        uint64_t length = (g + 1) * BLOCK;
        uint32_t n = (uint32_t) (UNIT * 2 / length);

        for (uint32_t i = 0; i < n; i++)
                ret[i] = (struct extents_extent){.offset = i * length, .length = length,
                                                     .addr = EXTENTS_PACK(1 + g % 2, address(nodeid, g, i * length))};
        return n;
}

static bool is_right(const struct fused_program_call *call) {
        const struct fused_mapping *m = &call->read;
        uint64_t g = m->length / BLOCK - 1;

        return m->type == FUSED_MAPPING_MAPPED && g < 4 && m->offset % m->length == 0 && m->offset <= call->pos &&
               call->pos - m->offset < m->length &&
               m->addr == address(call->nodeid, g, m->offset) && m->dev == 100 + 1 + g % 2;
}

static void *reader(void *argument) {
        unsigned seed = (unsigned) (uintptr_t) argument;

        while (!atomic_load(&stop)) {
                struct fused_program_call call = {.nodeid = 1 + (uint64_t) rand_r(&seed) % 4, .count = 1,
                                                  .pos = (uint64_t) rand_r(&seed) % (2 * UNIT)};
                if (PROGRAM_BEGIN(&call) != FUSED_PROGRAM_HANDLED)
                        atomic_fetch_add(&fallbacks, 1);
                else
                        atomic_fetch_add(is_right(&call) ? &answers : &wrong, 1);
        }
        return NULL;
}

static void test_race(void **state) {
        ExtentTables *tables;
        pthread_t threads[READERS];
        struct extents_extent made[UNIT * 2 / BLOCK];
        unsigned seed = 1;

        for (uint64_t i = 1; i <= 2; i++)
                cookies[i] = 100 + i;
        devices.data = cookies;
        devices.n = FUSED_PROGRAM_DEVICES_MAX + 1;
        files.data = file_table;
        files.n = N_FILES;
        extents.data = extent_table;
        extents.n = N_EXTENTS;
#ifdef HAS_SEGMENTS
        segments.data = segment_table;
        segments.n = N_SEGMENTS;
#endif
        assert_int_equal(extent_tables_new(file_table, N_FILES, extent_table, N_EXTENTS, SEGMENT_TABLE, N_SEGMENTS, &tables), 0);
        for (uintptr_t i = 0; i < READERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *) (i + 1)), 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                uint64_t nodeid = 1 + (uint64_t) rand_r(&seed) % 4;
                uint32_t n = layout(nodeid, (uint64_t) rand_r(&seed) % 4, made);
                extent_tables_remove(tables, nodeid);
                int r = extent_tables_put(tables, nodeid, 2 * UNIT, made, n);
                assert_true(r == 0 || r == -ENOSPC);
                if (round % 16 == 0) /* let the others see it, too */
                        (void) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
        }
        atomic_store(&stop, true);
        for (size_t i = 0; i < READERS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        extent_tables_free(tables);
        print_message("%lu answers, %lu fallbacks\n", atomic_load(&answers), atomic_load(&fallbacks));
        assert_int_equal(atomic_load(&wrong), 0);
        assert_true(atomic_load(&answers) > 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_race)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
