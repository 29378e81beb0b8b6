/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of mapped files: lookups are counted as the kernel counts them, and many files are found as fast as few. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "map/map.h"

#define FEW 1000U
#define MANY 300000U
#define GETS 200000U

static void test_lookups(void **state) {
        MapFiles *files;

        assert_int_equal(map_files_new(&files), 0);
        assert_null(map_file_get(files, 7));
        assert_int_equal(map_file_lookup(files, 7, 70, 100, 3), 0);
        assert_int_equal(map_file_lookup(files, 7, 71, 200, 4), 0); /* it is there */
        _cleanup_file_ MapFile *file = map_file_get(files, 7);
        assert_int_equal(file->ino, 70);
        assert_int_equal(file->size, 100);
        assert_int_equal(file->errors_seen, 3);
        map_file_forget(files, 8, 1);
        map_file_forget(files, 7, 1);
        assert_int_equal(file->n_lookup, 1);
        map_file_forget(files, 7, 5);
        assert_null(map_file_get(files, 7));
        assert_int_equal(file->n_ref, 1); /* ours */
        assert_int_equal(map_file_lookup(files, 7, 72, 300, 0), 0);
        files = map_files_free(files);
}

/* ns for each, the best of three. */
static double get_at_random(MapFiles *files, unsigned n) {
        double best = 1e9;

        for (unsigned round = 0; round < 3; round++) {
                uint64_t x = 1, started = clock_nsec();
                for (unsigned i = 0; i < GETS; i++) {
                        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
                        MapFile *file = map_file_get(files, 2 + (x >> 33) % n);
                        assert_non_null(file);
                        map_file_unref(file);
                }
                best = MIN_OF(best, (double) (clock_nsec() - started) / GETS);
        }
        return best;
}

static void test_many(void **state) {
        MapFiles *files;
        double few, many;

        assert_int_equal(map_files_new(&files), 0);
        for (unsigned i = 0; i < FEW; i++)
                assert_int_equal(map_file_lookup(files, 2 + i, 2 + i, 0, 0), 0);
        few = get_at_random(files, FEW);
        for (unsigned i = FEW; i < MANY; i++)
                assert_int_equal(map_file_lookup(files, 2 + i, 2 + i, 0, 0), 0);
        many = get_at_random(files, MANY);
        printf("%.0f ns among %u files, %.0f ns among %u\n", few, FEW, many, MANY);
        assert_true(many < 30 * few); /* which is what misses of the processor's cache make of it, and not a search */
        for (unsigned i = 0; i < MANY; i += 2)
                map_file_forget(files, 2 + i, 1);
        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_file_ MapFile *file = map_file_get(files, 2 + i);
                assert_int_equal(file != NULL, i % 2);
        }
        files = map_files_free(files);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_lookups), cmocka_unit_test(test_many)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
