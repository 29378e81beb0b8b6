/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the mapping cache gives up when it is full: what was used longest ago, and not what is used all the time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "map/cache.h"

#define BLOCK 4096U
#define LIMIT (1U << 20)
#define HOT 4000U    /* mappings; some 2 % of those that fit */
#define COLD 800000U /* that come and are not used again: several times as many as fit */

/* No two can be merged. */
static void put(MappingCache *cache, uint64_t i) {
        const struct fused_mapping m = {.offset = i * BLOCK, .length = BLOCK, .addr = (i * 7919 % 1000003 * 2) * BLOCK, .type = FUSED_MAPPING_MAPPED,
                                        .dev = 1};

        assert_int_equal(mapping_cache_upsert(cache, &m), 0);
}

static unsigned use(MappingCache *cache, uint64_t n, uint64_t step) {
        struct fused_mapping m;
        unsigned n_known = 0;

        for (uint64_t i = 0; i < n; i += step)
                n_known += mapping_cache_lookup(cache, i * BLOCK, &m);
        return n_known;
}

/* Mappings of one file that are asked for now and then, while another one's come in and go. */
static void test_hot(void **state) {
        MappingCache *hot, *cold;
        MappingPoolFacts facts;
        MappingPool *pool;

        assert_int_equal(mapping_pool_new(LIMIT, BLOCK, &pool), 0);
        assert_int_equal(mapping_cache_new(pool, &hot), 0);
        assert_int_equal(mapping_cache_new(pool, &cold), 0);
        for (uint64_t i = 0; i < HOT; i++)
                put(hot, i);
        for (uint64_t i = 0; i < COLD; i++) {
                put(cold, i);
                if (i % 500 == 0)
                        (void) use(hot, HOT, 20); /* every leaf */
        }
        mapping_pool_facts(pool, &facts);
        assert_true(facts.n_evicted > COLD / 2);
        assert_true(use(hot, HOT, 1) > HOT * 9 / 10); /* time begins with the first that are given up: these may be of any age */
        for (uint64_t i = COLD - 1000; i < COLD; i++) { /* what has just come is there, too */
                struct fused_mapping m;
                assert_true(mapping_cache_lookup(cold, i * BLOCK, &m));
        }
        assert_int_equal(use(cold, COLD / 10, 1), 0);
        hot = mapping_cache_free(hot);
        cold = mapping_cache_free(cold);
        pool = mapping_pool_free(pool);
}

/* Memory pressure: what goes first is what nobody has used since. */
static void test_shrink(void **state) {
        const uint64_t n = 100000;
        MappingPoolFacts facts;
        MappingCache *cache;
        MappingPool *pool;

        assert_int_equal(mapping_pool_new(UINT64_C(64) << 20, BLOCK, &pool), 0);
        assert_int_equal(mapping_cache_new(pool, &cache), 0);
        for (uint64_t i = 0; i < n; i++)
                put(cache, i);
        mapping_pool_facts(pool, &facts);
        assert_int_equal(facts.n_mappings, n);
        const uint64_t bytes = facts.bytes;
        for (unsigned round = 0; round < 20; round++) {
                (void) use(cache, HOT, 1);
                (void) mapping_pool_shrink(pool, bytes - bytes / 40 * (round + 1));
        }
        mapping_pool_facts(pool, &facts);
        assert_true(facts.n_mappings <= n * 6 / 10 && facts.n_mappings > n / 3);
        assert_true(use(cache, HOT, 1) > HOT * 9 / 10);
        cache = mapping_cache_free(cache);
        pool = mapping_pool_free(pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_hot), cmocka_unit_test(test_shrink)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
