/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of files, from the server's side and from a program's, which is `stripe` in its native form; and stripe's arithmetic against counting
 * the chunks one by one. */

#define FUSED_NATIVE
#include "fused-program.h"
#include "stripe/stripe.bpf.c"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#define N_ENTRIES 257U

static struct stripe_file entries[N_ENTRIES];
static uint64_t cookies[FUSED_PROGRAM_DEVICES_MAX + 1];
static struct fused_program_files table;

static int set_up(void **state) {
        const struct fused_map_table given = {.name = "files", .data = entries, .entry_size = sizeof entries[0], .n_available = N_ENTRIES};

        memset(entries, 0xff, sizeof entries);
        for (uint32_t i = 1; i <= FUSED_PROGRAM_DEVICES_MAX; i++)
                cookies[i] = 1000 + i;
        devices.data = cookies;
        devices.n = FUSED_PROGRAM_DEVICES_MAX + 1;
        files.data = entries;
        files.n = N_ENTRIES;
        return fused_program_files_init(&table, &given);
}

static struct stripe_file file_of(uint64_t nodeid, uint32_t n, uint32_t shift, uint64_t chunks) {
        struct stripe_file file = {.nodeid = nodeid, .length = chunks << shift, .shift = shift, .n = n};

        for (uint32_t i = 0; i < n; i++) {
                file.device[i] = (uint8_t) (n - i); /* not in order */
                file.first[i] = (uint64_t) (i + 1) << 40 | nodeid << 20;
        }
        return file;
}

static int ask(uint64_t nodeid, uint64_t pos, struct fused_mapping *ret) {
        struct fused_program_call call = {.nodeid = nodeid, .pos = pos, .count = 1};
        int verdict = stripe_begin(&call);

        *ret = call.read;
        return verdict;
}

static void test_sizes(void **state) {
        const struct { uint64_t entry_size, n, slots; } cases[] = {
                {96, 0, 0}, {96, 1, 0}, {8, 100, 0}, {16, 2, 1}, {16, 3, 2}, {16, 4, 2}, {16, 5, 4}, {16, 64, 32}, {16, 65, 64}, {16, 66, 64}};
        static uint64_t memory[4096];

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct fused_program_files made;
                int r = fused_program_files_init(&made, &(struct fused_map_table){
                        .data = memory, .entry_size = cases[i].entry_size, .n_available = cases[i].n});
                assert_int_equal(r, cases[i].slots ? 0 : -EINVAL);
                if (r == 0) {
                        assert_int_equal(made.n_slots, cases[i].slots);
                        assert_true(made.n_slots + 1 <= cases[i].n);
                }
        }
}

/* Files come and go at random; the program knows just those that are there. */
static void test_come_and_go(void **state) {
        bool there[400] = {false};
        struct fused_mapping found;
        unsigned full = 0;

        srand(1);
        for (unsigned round = 0; round < 20000; round++) {
                uint64_t id = 1 + (uint64_t) rand() % 399, other = 1 + (uint64_t) rand() % 399;
                struct stripe_file file = file_of(id << 33 | id, 2, 16, id);
                if (rand() % 2) {
                        int r = fused_program_files_put(&table, &file);
                        assert_true(r == 0 || (r == -ENOSPC && !there[id]));
                        there[id] = r == 0;
                        full += r != 0;
                } else {
                        fused_program_files_remove(&table, file.nodeid);
                        there[id] = false;
                }
                assert_int_equal(ask(other << 33 | other, (other << 16) - 1, &found), there[other]);
                assert_int_equal(ask(other << 33 | other, other << 16, &found), FUSED_PROGRAM_FALLBACK);
        }
        assert_true(full > 0); /* that was tried, too */
        assert_int_equal(fused_program_files_put(&table, &(struct stripe_file){.nodeid = 0}), -EINVAL);
        fused_program_files_remove(&table, 0);
}

static void test_replace(void **state) {
        struct stripe_file small = file_of(9, 3, 12, 5), large = file_of(9, 3, 12, 50);
        struct fused_mapping found;

        assert_int_equal(fused_program_files_put(&table, &small), 0);
        assert_int_equal(ask(9, 6 << 12, &found), FUSED_PROGRAM_FALLBACK);
        assert_int_equal(fused_program_files_put(&table, &large), 0);
        assert_int_equal(ask(9, 6 << 12, &found), FUSED_PROGRAM_HANDLED);
        fused_program_files_remove(&table, 9);
        assert_int_equal(ask(9, 6 << 12, &found), FUSED_PROGRAM_FALLBACK);
}

/* Where a position is, counted chunk by chunk. */
static void test_stripe(void **state) {
        for (uint32_t n = 1; n <= FUSED_PROGRAM_DEVICES_MAX; n++)
                for (uint32_t shift = 12; shift <= 26; shift += 7) {
                        struct stripe_file file = file_of(5, n, shift, 3 * n + 2);
                        uint64_t used[FUSED_PROGRAM_DEVICES_MAX] = {0};
                        struct fused_mapping found;
                        file.length -= 1ULL << 11; /* the last chunk is not whole */
                        assert_int_equal(fused_program_files_put(&table, &file), 0);
                        for (uint64_t chunk = 0; chunk < 3 * n + 2; chunk++) {
                                uint64_t start = chunk << shift, end = start + (1ULL << shift), i = chunk % n;
                                end = end > file.length ? file.length : end;
                                const uint64_t positions[] = {start, start + 1, (start + end) / 2, end - 1};
                                for (size_t p = 0; p < 4; p++) {
                                        assert_int_equal(ask(5, positions[p], &found), FUSED_PROGRAM_HANDLED);
                                        assert_int_equal(found.offset, start);
                                        assert_int_equal(found.length, end - start);
                                        assert_int_equal(found.addr, file.first[i] + used[i]);
                                        assert_int_equal(found.dev, 1000 + n - i);
                                        assert_int_equal(found.type, FUSED_MAPPING_MAPPED);
                                }
                                used[i] += 1ULL << shift;
                        }
                        assert_int_equal(ask(5, file.length, &found), FUSED_PROGRAM_FALLBACK);
                }
}

/* What a server should never write: no answer, and nothing outside of the table. */
static void test_nonsense(void **state) {
        const uint32_t counts[] = {0, 9, UINT32_MAX};
        struct fused_mapping found;

        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
                struct stripe_file file = file_of(5, 2, 16, 4);
                file.n = counts[i];
                assert_int_equal(fused_program_files_put(&table, &file), 0);
                assert_int_equal(ask(5, 0, &found), FUSED_PROGRAM_FALLBACK);
        }
        struct stripe_file file = file_of(5, 1, 16, 4);
        file.device[0] = 200; /* there is no such device */
        assert_int_equal(fused_program_files_put(&table, &file), 0);
        assert_int_equal(ask(5, 0, &found), FUSED_PROGRAM_FALLBACK);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_sizes, set_up),
                cmocka_unit_test_setup(test_come_and_go, set_up),
                cmocka_unit_test_setup(test_replace, set_up),
                cmocka_unit_test_setup(test_stripe, set_up),
                cmocka_unit_test_setup(test_nonsense, set_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
