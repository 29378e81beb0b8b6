/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mapping cache against a model that is an array of blocks: random changes, then every block and every mapping
 * is compared. */

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/cache-pack.h"

#define BLOCK 4096U

static uint64_t random_state;
static uint64_t rnd(void) { /* xorshift64* */
        random_state ^= random_state >> 12;
        random_state ^= random_state << 25;
        random_state ^= random_state >> 27;
        return random_state * UINT64_C(2685821657736338717);
}
static uint64_t below(uint64_t n) {
        return rnd() % n;
}

/* ---- the model
 * -------------------------------------------------------------------------------------------------------- */

typedef struct ModelBlock {
        bool known;
        uint16_t type, flags;
        uint32_t dev;
        uint64_t addr; /* FUSED_MAPPING_ADDR_NONE: none */
} ModelBlock;

static bool model_continues(const ModelBlock *a, const ModelBlock *b) {
        return a->known && b->known && a->type == b->type && a->flags == b->flags && a->dev == b->dev &&
                (a->addr == FUSED_MAPPING_ADDR_NONE ? b->addr == FUSED_MAPPING_ADDR_NONE : a->addr + BLOCK == b->addr);
}

static void model_set(ModelBlock *model, const struct fused_mapping *m) {
        for (uint64_t i = 0; i < m->length / BLOCK; i++)
                model[m->offset / BLOCK + i] =
                                (ModelBlock){ true, m->type, m->flags, m->dev,
                                              m->addr == FUSED_MAPPING_ADDR_NONE ? m->addr : m->addr + i * BLOCK };
}

static void assert_block(MappingCache *cache, const ModelBlock *model, uint64_t i, uint64_t origin, bool may_be_gone) {
        struct fused_mapping m;
        bool found = mapping_cache_lookup(cache, origin + i * BLOCK + below(BLOCK), &m);
        if (!found && may_be_gone)
                return;
        assert_int_equal(found, model[i].known);
        if (!found)
                return;
        uint64_t pos = origin + i * BLOCK;
        assert_true(m.offset <= pos && pos - m.offset < m.length);
        assert_int_equal(m.type, model[i].type);
        assert_int_equal(m.flags, model[i].flags);
        assert_int_equal(m.dev, model[i].dev);
        assert_true(m.addr == FUSED_MAPPING_ADDR_NONE ? model[i].addr == m.addr
                                                      : m.addr + (pos - m.offset) == model[i].addr);
}

/* Every mapping is as long as it can be, whole, and there is no other. */
static void assert_same(MappingCache *cache, const ModelBlock *model, uint64_t n, uint64_t origin) {
        struct fused_mapping m;
        uint64_t count = 0;
        for (uint64_t i = 0; i < n;) {
                if (!model[i].known) {
                        assert_false(mapping_cache_lookup(cache, origin + i++ * BLOCK, &m));
                        continue;
                }
                uint64_t k = i + 1;
                while (k < n && model_continues(model + k - 1, model + k))
                        k++;
                assert_true(mapping_cache_next(
                                cache, i == 0 || model[i - 1].known ? origin + i * BLOCK : origin + (i - 1) * BLOCK,
                                &m));
                assert_int_equal(m.offset, origin + i * BLOCK);
                assert_int_equal(m.length, (k - i) * BLOCK);
                for (; i < k; i++)
                        assert_block(cache, model, i, origin, false);
                count++;
        }
        assert_int_equal(mapping_cache_count(cache), count);
}

static struct fused_mapping random_mapping(uint64_t n_blocks, uint64_t longest, unsigned spread) {
        static const uint16_t types[] = { FUSED_MAPPING_MAPPED,    FUSED_MAPPING_MAPPED,        FUSED_MAPPING_MAPPED,
                                          FUSED_MAPPING_UNWRITTEN, FUSED_MAPPING_HOLE,          FUSED_MAPPING_DELALLOC,
                                          FUSED_MAPPING_INLINE,    FUSED_MAPPING_PURE_OVERWRITE };
        uint64_t len = 1 + below(longest), start = below(n_blocks - len + 1);
        struct fused_mapping m = { .offset = start * BLOCK,
                                   .length = len * BLOCK,
                                   .addr = FUSED_MAPPING_ADDR_NONE,
                                   .type = types[below(ELEMENTSOF(types))] };
        if (m.type == FUSED_MAPPING_MAPPED || m.type == FUSED_MAPPING_UNWRITTEN) {
                m.dev = 1 + (uint32_t) below(3);
                /* most continue what is beside them, with a shift now and then; some are far away */
                m.addr = below(4) > 0 ? m.offset + below(3) * BLOCK * n_blocks
                                      : (rnd() >> (12 + below(40)) >> (spread % 20)) * BLOCK;
                m.addr = MIN_OF(m.addr, UINT64_MAX / 2 / BLOCK * BLOCK);
        }
        if (below(3) == 0)
                m.flags = (uint16_t) below(FUSED_MAPPING_F_SETTABLE + 1);
        return m;
}

static void sequence(uint64_t seed, uint64_t n_blocks, uint64_t longest, unsigned steps, unsigned punches) {
        MappingPool *pool;
        MappingCache *cache;
        _cleanup_free_ ModelBlock *model = calloc(n_blocks, sizeof(ModelBlock));
        uint64_t origin = seed % 3 == 0 ? 0 : (seed % 3 == 1 ? UINT64_C(1) << 40 : UINT64_C(1) << 61);

        random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
        assert_non_null(model);
        assert_int_equal(mapping_pool_new(UINT64_MAX, BLOCK, &pool), 0);
        assert_int_equal(mapping_cache_new(pool, &cache), 0);
        for (unsigned i = 0; i < steps; i++) {
                struct fused_mapping m = random_mapping(n_blocks,
                                                        below(20) == 0 ? (n_blocks + 1) / 2 : MIN_OF(longest, n_blocks),
                                                        (unsigned) seed);
                if (below(100) < punches) {
                        bool to_end = below(200) == 0;
                        for (uint64_t b = m.offset / BLOCK; b < (to_end ? n_blocks : (m.offset + m.length) / BLOCK);
                             b++)
                                model[b].known = false;
                        assert_int_equal(mapping_cache_invalidate(cache, origin + m.offset,
                                                                  to_end ? UINT64_MAX : m.length),
                                         0);
                } else {
                        model_set(model, &m);
                        m.offset += origin;
                        assert_int_equal(mapping_cache_upsert(cache, &m), 0);
                }
                if (i % (steps / 8 + 1) == 0)
                        assert_same(cache, model, n_blocks, origin);
                assert_block(cache, model, below(n_blocks), origin, false);
        }
        assert_same(cache, model, n_blocks, origin);
        MappingPoolFacts facts;
        mapping_pool_facts(pool, &facts);
        assert_int_equal(facts.n_mappings, mapping_cache_count(cache));
        assert_int_equal(mapping_cache_invalidate(cache, 0, UINT64_MAX), 0);
        assert_int_equal(mapping_cache_count(cache), 0);
        mapping_cache_free(cache);
        mapping_pool_facts(pool, &facts);
        assert_int_equal(facts.n_mappings, 0);
        assert_int_equal(pool->n_taken, 0);
        mapping_pool_free(pool);
}

static void test_small(void **state) {
        for (uint64_t seed = 1; seed <= 400; seed++)
                sequence(seed, 1 + seed % 60, 1 + seed % 7, 200, 20);
}

static void test_large(void **state) {
        for (uint64_t seed = 1; seed <= 12; seed++)
                sequence(seed, 4000 + 3000 * seed, 3 + seed % 5, 12000, seed % 4 == 0 ? 45 : 8);
}

/* Nothing merges, and all orders: the tree grows to three levels and goes away again. */
static void test_orders(void **state) {
        enum { N = 60000 };
        for (unsigned order = 0; order < 4; order++) {
                MappingPool *pool;
                MappingCache *cache;
                MappingPoolFacts facts;
                assert_int_equal(mapping_pool_new(UINT64_MAX, BLOCK, &pool), 0);
                assert_int_equal(mapping_cache_new(pool, &cache), 0);
                for (uint64_t k = 0; k < N; k++) {
                        uint64_t i = order == 0      ? k
                                        : order == 1 ? N - 1 - k
                                        : order == 2 ? k * 7919 % N
                                                     : (k % 8) * (N / 8) + k / 8;
                        struct fused_mapping m = { .offset = i * 2 * BLOCK,
                                                   .length = BLOCK,
                                                   .addr = (i * 7 % N) * BLOCK,
                                                   .type = FUSED_MAPPING_MAPPED,
                                                   .dev = 1 };
                        assert_int_equal(mapping_cache_upsert(cache, &m), 0);
                }
                assert_int_equal(mapping_cache_count(cache), N);
                assert_true(root_height(cache->root) >= 2);
                mapping_pool_facts(pool, &facts);
                assert_true(facts.bytes < 16 * N);
                struct fused_mapping m;
                uint64_t pos = 0, i = 0;
                for (; mapping_cache_next(cache, pos, &m); pos = m.offset + m.length, i++) {
                        assert_int_equal(m.offset, i * 2 * BLOCK);
                        assert_int_equal(m.addr, (i * 7 % N) * BLOCK);
                }
                assert_int_equal(i, N);
                for (uint64_t k = 0; k < N; k++) {
                        assert_int_equal(mapping_cache_invalidate(cache, (k * 7919 % N) * 2 * BLOCK, BLOCK), 0);
                        if (k == N / 2) { /* half of it: what is left is not much more than half */
                                uint64_t before = pool->n_taken;
                                mapping_pool_shrink(pool, UINT64_MAX);
                                assert_int_equal(pool->n_taken, before);
                                assert_int_equal(pool->n_nodes, before + 1); /* packed */
                        }
                }
                assert_int_equal(mapping_cache_count(cache), 0);
                assert_int_equal(pool->n_taken, 0);
                mapping_cache_free(cache);
                mapping_pool_free(pool);
        }
}

static void test_refused(void **state) {
        MappingPool *pool;
        MappingCache *cache;
        struct fused_mapping m;
        assert_int_equal(mapping_pool_new(0, 4095, &pool), -EINVAL);
        assert_int_equal(mapping_pool_new(0, 256, &pool), -EINVAL);
        assert_int_equal(mapping_pool_new(0, 131072, &pool), -EINVAL);
        assert_int_equal(mapping_pool_new(0, BLOCK, &pool), 0);
        assert_int_equal(mapping_cache_new(pool, &cache), 0);
        static const struct fused_mapping bad[] = {
                { .offset = 0, .length = 0, .addr = 0, .type = FUSED_MAPPING_MAPPED },
                { .offset = 1, .length = BLOCK, .addr = 0, .type = FUSED_MAPPING_MAPPED },
                { .offset = 0, .length = BLOCK + 512, .addr = 0, .type = FUSED_MAPPING_MAPPED },
                { .offset = 0, .length = BLOCK, .addr = 512, .type = FUSED_MAPPING_MAPPED },
                { .offset = 0, .length = BLOCK, .addr = 0, .type = 5 },
                { .offset = 0, .length = BLOCK, .addr = 0, .type = FUSED_MAPPING_NOCACHE },
                { .offset = 0, .length = BLOCK, .addr = 0, .type = FUSED_MAPPING_RETRY_CACHE },
                { .offset = UINT64_MAX - BLOCK + 1, .length = BLOCK, .addr = 0, .type = FUSED_MAPPING_MAPPED },
                { .offset = 0, .length = BLOCK * 2, .addr = UINT64_MAX - BLOCK + 1, .type = FUSED_MAPPING_MAPPED },
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(mapping_cache_upsert(cache, bad + i), -EINVAL);
        assert_int_equal(mapping_cache_count(cache), 0);
        m = (struct fused_mapping){
                .offset = 0, .length = UINT64_C(1) << 63, .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_HOLE
        };
        assert_int_equal(mapping_cache_upsert(cache, &m), 0);
        assert_true(mapping_cache_lookup(cache, INT64_MAX, &m));
        assert_int_equal(m.length, UINT64_C(1) << 63);
        /* a part of a block: all of it is forgotten */
        assert_int_equal(mapping_cache_invalidate(cache, BLOCK + 1, 1), 0);
        assert_true(mapping_cache_lookup(cache, BLOCK - 1, &m));
        assert_int_equal(m.length, BLOCK);
        assert_false(mapping_cache_lookup(cache, BLOCK, &m));
        assert_true(mapping_cache_lookup(cache, 2 * BLOCK, &m));
        assert_int_equal(m.offset, 2 * BLOCK);
        mapping_cache_free(cache);
        mapping_pool_free(pool);
}

/* Many caches under a limit: what is still there is right, and the limit is kept. */
static void test_limit(void **state) {
        enum { CACHES = 20, BLOCKS = 20000 };
        for (uint64_t seed = 1; seed <= 4; seed++) {
                MappingPool *pool;
                MappingCache *caches[CACHES];
                MappingPoolFacts facts;
                uint64_t limit = 65536 << (seed % 3);
                _cleanup_free_ ModelBlock *models = calloc(CACHES * BLOCKS, sizeof(ModelBlock));
                random_state = seed;
                assert_int_equal(mapping_pool_new(limit, BLOCK, &pool), 0);
                for (unsigned i = 0; i < CACHES; i++)
                        assert_int_equal(mapping_cache_new(pool, &caches[i]), 0);
                for (unsigned i = 0; i < 60000; i++) {
                        unsigned k = (unsigned) below(CACHES);
                        struct fused_mapping m = random_mapping(BLOCKS, 4, 0);
                        model_set(models + k * BLOCKS, &m);
                        assert_int_equal(mapping_cache_upsert(caches[k], &m), 0);
                        mapping_pool_facts(pool, &facts);
                        assert_true(pool->used_bytes <= limit);
                        assert_true(facts.bytes <= limit + limit / 4);
                        assert_block(caches[k], models + k * BLOCKS, below(BLOCKS), 0, true);
                        if (i % 20000 == 19999) {
                                uint64_t left = mapping_pool_shrink(pool, limit / 4);
                                assert_true(left <= limit / 4 + 4096);
                        }
                }
                assert_true(facts.n_evicted > 0);
                uint64_t count = 0;
                for (unsigned k = 0; k < CACHES; k++) {
                        for (unsigned i = 0; i < BLOCKS; i++)
                                assert_block(caches[k], models + k * BLOCKS, i, 0, true);
                        count += mapping_cache_count(caches[k]);
                }
                mapping_pool_facts(pool, &facts);
                assert_int_equal(facts.n_mappings, count);
                mapping_pool_set_limit(pool, 0); /* as little as there can be */
                mapping_pool_facts(pool, &facts);
                assert_true(facts.bytes <= 65536 + 4096 && facts.limit == 65536);
                for (unsigned k = 0; k < CACHES; k++)
                        mapping_cache_free(caches[k]);
                assert_int_equal(pool->n_taken, 0);
                assert_int_equal(pool->used_bytes, 0);
                mapping_pool_free(pool);
        }
}

/* Caches of a mapping or two, which are no leaves: whoever has them gives them up when the pool says so, and a large one stays. */
enum { SMALL_CACHES = 60000, LARGE_MAPPINGS = 20000, SMALL_LIMIT = 2 << 20 };

typedef struct Owner {
        MappingCache *caches[SMALL_CACHES];
        unsigned hand, n_calls;
} Owner;

static void give_up(void *userdata, uint64_t bytes) {
        Owner *owner = userdata;
        uint64_t done = 0;

        owner->n_calls++;
        for (unsigned i = 0; i < 2 * SMALL_CACHES && done < bytes; i++, owner->hand = (owner->hand + 1) % SMALL_CACHES) {
                MappingCache **cache = &owner->caches[owner->hand];
                if (*cache && mapping_cache_is_idle(*cache)) {
                        done += mapping_cache_evict(*cache);
                        *cache = NULL;
                }
        }
        assert_true(done >= bytes);
}

static void test_small_caches(void **state) {
        struct fused_mapping m = { .length = BLOCK, .type = FUSED_MAPPING_MAPPED, .dev = 1 };
        static Owner owner;
        MappingPool *pool;
        MappingCache *large;
        MappingPoolFacts facts;
        unsigned n_hot = 0;

        assert_int_equal(mapping_pool_new(SMALL_LIMIT, BLOCK, &pool), 0);
        mapping_pool_set_give_up(pool, give_up, &owner);
        assert_int_equal(mapping_cache_new(pool, &large), 0);
        for (uint64_t i = 0; i < LARGE_MAPPINGS; i++) {
                m.offset = i * 2 * BLOCK;
                m.addr = i * 7919 % LARGE_MAPPINGS * 3 * BLOCK;
                assert_int_equal(mapping_cache_upsert(large, &m), 0);
        }
        m.offset = 0;
        for (unsigned i = 0; i < SMALL_CACHES; i++) {
                assert_int_equal(mapping_cache_new(pool, &owner.caches[i]), 0);
                m.addr = i * (uint64_t) BLOCK;
                assert_int_equal(mapping_cache_upsert(owner.caches[i], &m), 0);
                for (unsigned hot = 0; hot < 100; hot++) /* these are used all the time */
                        if (owner.caches[hot * 10])
                                (void) mapping_cache_lookup(owner.caches[hot * 10], 0, &m);
                mapping_pool_facts(pool, &facts);
                assert_true(pool->used_bytes <= SMALL_LIMIT && facts.bytes <= SMALL_LIMIT + SMALL_LIMIT / 4);
        }
        for (uint64_t i = 0; i < LARGE_MAPPINGS; i++)
                assert_true(mapping_cache_lookup(large, i * 2 * BLOCK, &m));
        for (unsigned hot = 0; hot < 100; hot++)
                n_hot += owner.caches[hot * 10] != NULL;
        assert_int_equal(n_hot, 100);
        assert_in_range(owner.n_calls, 1, SMALL_CACHES / 10); /* not for each */
        assert_true(facts.n_evicted > SMALL_CACHES / 2);
        assert_true(mapping_pool_shrink(pool, SMALL_LIMIT / 2) <= SMALL_LIMIT / 2 + 4096);
        for (unsigned i = 0; i < SMALL_CACHES; i++)
                owner.caches[i] = mapping_cache_free(owner.caches[i]);
        assert_int_equal(pool->small_bytes, mapping_cache_count(large) > 2 ? 0 : sizeof(MappingCache));
        mapping_cache_free(large);
        assert_int_equal(pool->small_bytes, 0);
        assert_int_equal(pool->used_bytes, 0);
        mapping_pool_free(pool);
}

/* Readers beside writers that replace, forget and evict. Block b always lies at (b * 3 + version % 4) * 16 + dev, so
 * that whatever a reader sees can be checked by itself; and half of the blocks are never forgotten, so that they are
 * always seen where there is no eviction. */
enum { STRESS_BLOCKS = 30000, STRESS_READERS = 3, STRESS_CACHES = 2 };

typedef struct Stress {
        MappingPool *pool;
        MappingCache *caches[STRESS_CACHES];
        bool evicts;
        _Atomic bool done;
        _Atomic uint64_t n_found, n_wrong, n_lost;
} Stress;

static struct fused_mapping stress_mapping(uint64_t block, unsigned cache, unsigned version) {
        return (struct fused_mapping){ .offset = block * BLOCK,
                                       .length = BLOCK,
                                       .type = FUSED_MAPPING_MAPPED,
                                       .dev = cache + 1,
                                       .addr = ((block * 3 + version % 4) * 16 + cache) * BLOCK };
}

static void *stress_read(void *userdata) {
        Stress *stress = userdata;
        uint64_t state = (uint64_t) (uintptr_t) &state | 1;
        while (!stress->done) {
                state = state * 6364136223846793005U + 1442695040888963407U;
                uint64_t block = (state >> 33) % STRESS_BLOCKS;
                unsigned cache = (state >> 20) % STRESS_CACHES;
                struct fused_mapping m;
                if (!mapping_cache_lookup(stress->caches[cache], block * BLOCK, &m)) {
                        stress->n_lost += block % 2 == 0 && !stress->evicts;
                        continue;
                }
                uint64_t place = m.addr / BLOCK / 16;
                stress->n_found++;
                stress->n_wrong += m.offset != block * BLOCK || m.length != BLOCK || m.dev != cache + 1 ||
                                m.addr / BLOCK % 16 != cache || place < block * 3 || place > block * 3 + 3;
        }
        return NULL;
}

static void *stress_write(void *userdata) {
        Stress *stress = userdata;
        uint64_t state = (uint64_t) (uintptr_t) &state | 1;
        for (unsigned i = 0; !stress->done; i++) {
                state = state * 6364136223846793005U + 1442695040888963407U;
                uint64_t block = (state >> 33) % STRESS_BLOCKS;
                unsigned cache = (state >> 20) % STRESS_CACHES;
                struct fused_mapping m = stress_mapping(block, cache, i);
                if (i % 3 == 0 && block % 2 == 1)
                        (void) mapping_cache_invalidate(stress->caches[cache], m.offset, BLOCK);
                else if (mapping_cache_upsert(stress->caches[cache], &m) < 0)
                        stress->n_wrong++;
                if (i % 4096 == 0) /* nodes are moved, and given back */
                        (void) mapping_pool_shrink(stress->pool, stress->evicts ? 100000 : UINT64_MAX);
        }
        return NULL;
}

static void test_threads(void **state) {
        for (unsigned evicts = 0; evicts < 2; evicts++) {
                Stress stress = { .evicts = evicts };
                pthread_t readers[STRESS_READERS], writers[2];
                assert_int_equal(mapping_pool_new(evicts ? 300000 : UINT64_MAX, BLOCK, &stress.pool), 0);
                for (unsigned cache = 0; cache < STRESS_CACHES; cache++) {
                        assert_int_equal(mapping_cache_new(stress.pool, &stress.caches[cache]), 0);
                        for (uint64_t block = 0; block < STRESS_BLOCKS; block++) {
                                struct fused_mapping m = stress_mapping(block, cache, 0);
                                assert_int_equal(mapping_cache_upsert(stress.caches[cache], &m), 0);
                        }
                }
                for (unsigned i = 0; i < STRESS_READERS; i++)
                        assert_int_equal(pthread_create(&readers[i], NULL, stress_read, &stress), 0);
                for (unsigned i = 0; i < 2; i++)
                        assert_int_equal(pthread_create(&writers[i], NULL, stress_write, &stress), 0);
                usleep(1500000);
                stress.done = true;
                for (unsigned i = 0; i < STRESS_READERS; i++)
                        pthread_join(readers[i], NULL);
                for (unsigned i = 0; i < 2; i++)
                        pthread_join(writers[i], NULL);
                assert_int_equal(stress.n_wrong, 0);
                assert_int_equal(stress.n_lost, 0);
                assert_true(stress.n_found > 1000);
                for (unsigned cache = 0; cache < STRESS_CACHES; cache++)
                        mapping_cache_free(stress.caches[cache]);
                assert_int_equal(stress.pool->n_taken, 0);
                assert_int_equal(stress.pool->used_bytes, 0);
                mapping_pool_free(stress.pool);
        }
}

/* Long enough for hints, under a limit and without. */
static void test_hints(void **state) {
        enum { N = 400000 };
        MappingPool *pool;
        MappingCache *cache;
        struct fused_mapping m;
        assert_int_equal(mapping_pool_new(UINT64_MAX, BLOCK, &pool), 0);
        assert_int_equal(mapping_cache_new(pool, &cache), 0);
        for (uint64_t k = 0; k < N; k++) {
                uint64_t i = k * 7919 % N;
                m = (struct fused_mapping){ .offset = i * 3 * BLOCK,
                                            .length = 2 * BLOCK,
                                            .addr = (i * 7 % N) * 2 * BLOCK,
                                            .type = FUSED_MAPPING_MAPPED,
                                            .dev = 1 };
                assert_int_equal(mapping_cache_upsert(cache, &m), 0);
        }
        assert_non_null(cache->hints);
        for (unsigned round = 0; round < 3; round++) {
                for (uint64_t i = 0; i < N; i++) {
                        bool hole = round > 0 && i >= 1000 && i < 300000;
                        assert_int_equal(mapping_cache_lookup(cache, (i * 3 + 1) * BLOCK, &m), !hole || round == 2);
                        if (!hole) {
                                assert_int_equal(m.offset, i * 3 * BLOCK);
                                assert_int_equal(m.addr, (i * 7 % N) * 2 * BLOCK);
                        } else if (round == 2)
                                assert_int_equal(m.type, FUSED_MAPPING_HOLE);
                }
                if (round == 0)
                        assert_int_equal(mapping_cache_invalidate(cache, 3000 * BLOCK,
                                                                  (900000 - 3000) * (uint64_t) BLOCK),
                                         0);
                if (round == 1) {
                        /* one mapping whose end is far into what other nodes have had */
                        m = (struct fused_mapping){ .offset = 3000 * BLOCK,
                                                    .length = (900000 - 3000) * (uint64_t) BLOCK,
                                                    .addr = FUSED_MAPPING_ADDR_NONE };
                        assert_int_equal(mapping_cache_upsert(cache, &m), 0);
                }
        }
        mapping_cache_free(cache);
        assert_int_equal(pool->used_bytes, 0);
        mapping_pool_free(pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_small),
                cmocka_unit_test(test_large),
                cmocka_unit_test(test_orders),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_small_caches),
                cmocka_unit_test(test_hints),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
