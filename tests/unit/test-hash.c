/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables by a number: what is put in is found, nothing else is, and no bucket gets long whatever the numbers look like. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/hash.h"

#define N 100000U

static HashLink links[N];

static uint64_t count_up(uint64_t i) {
        return i + 1;
}
static uint64_t by_blocks(uint64_t i) {
        return i << 12;
}
static uint64_t high(uint64_t i) {
        return i << 40 | 7;
}
static uint64_t mixed(uint64_t i) {
        i = (i + 1) * UINT64_C(0xff51afd7ed558ccd);
        return i ^ i >> 33;
}

static size_t longest(const HashTable *table) {
        size_t most = 0;

        for (size_t i = 0; i < hash_n_buckets(table); i++) {
                size_t n = 0;
                for (const HashLink *link = table->buckets[i]; link; link = link->next)
                        n++;
                most = MAX_OF(most, n);
        }
        return most;
}

static void test_keys(void **state) {
        static uint64_t (*const keys[])(uint64_t) = {count_up, by_blocks, high, mixed};

        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                HashTable table = {0};
                size_t n = 0;
                assert_null(hash_find(&table, 1));
                for (unsigned i = 0; i < N; i++) {
                        links[i].key = keys[k](i);
                        assert_int_equal(hash_add(&table, &links[i]), 0);
                }
                assert_in_range(hash_n_buckets(&table), N, 2 * N);
                assert_in_range(longest(&table), 1, 12);
                for (unsigned i = 0; i < N; i++)
                        assert_ptr_equal(hash_find(&table, keys[k](i)), &links[i]);
                assert_null(hash_find(&table, keys[k](N)));
                HASH_EACH(link, &table)
                        n += link >= links && link < links + N;
                assert_int_equal(n, N);
                for (unsigned i = 0; i < N; i++) {
                        hash_remove(&table, &links[i]);
                        assert_null(hash_find(&table, keys[k](i)));
                        assert_true(hash_n_buckets(&table) <= 16 * (N - i));
                        if (i + 1 < N)
                                assert_ptr_equal(hash_find(&table, keys[k](N - 1)), &links[N - 1]);
                }
                assert_null(table.buckets);
        }
}

static void test_any(void **state) {
        HashTable table = {0};
        size_t cursor = 0, n = 0;

        assert_null(hash_any(&table, &cursor));
        for (unsigned i = 0; i < N; i++) {
                links[i].key = mixed(i);
                assert_int_equal(hash_add(&table, &links[i]), 0);
        }
        for (HashLink *link; (link = hash_any(&table, &cursor)); n++)
                hash_remove(&table, link);
        assert_int_equal(n, N);
        assert_null(table.buckets);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_any)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
