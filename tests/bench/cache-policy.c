/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache-policy-driver all|recorded JSON TRACE...: how often a mapping is found, by what is evicted when the pool is full: by the
 * pool's own rule, the leaf that was used longest ago ("lru", exact), or everything ("drop", what the kernel's cache
 * does). All three run in the very same cache.
 *
 * A trace is a file of 32-bit little-endian numbers: blocks in the order in which they were asked for (traces/record
 * makes them). Some are made up here, always the same. Each block is a mapping of its own, as in a file that is
 * fragmented as badly as can be. The limit is a share of what the cache takes when it keeps everything.
 *
 * Status 1: the pool's own rule finds less than one that drops everything, or much less than exact LRU in what was recorded. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "map/cache-private.h"

#define BLOCK 4096U
#define N_BLOCKS 200000U
#define N_ACCESSES 400000U
#define N_SHARES 3
#define ENOUGH_OF_LRU 0.85

static const unsigned usual_shares[N_SHARES] = { 10, 25, 50 }, loop_shares[N_SHARES] = { 50, 80, 91 };

typedef struct Trace {
        const char *name;
        uint32_t *blocks;
        size_t n;
        const unsigned *shares; /* limits, percent */
        bool recorded;
} Trace;

static uint64_t state = 20;

static _noreturn_ void fail(const char *what) {
        fprintf(stderr, "cache-policy: %s\n", what);
        exit(1);
}

static uint64_t rnd(uint64_t n) { /* xorshift64* */
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (uint64_t) ((unsigned __int128) (state * UINT64_C(2685821657736338717)) * n >> 64);
}

/* Ranks by Zipf's law (s = 1), 64 neighbouring blocks of each rank. The rank is drawn by inverting the harmonic sum. */
static uint32_t zipf(uint32_t n_groups) {
        double u = (double) rnd(UINT64_C(1) << 53) / (double) (UINT64_C(1) << 53);
        uint64_t rank = (uint64_t) (exp(u * log((double) n_groups + 1)) - 1);
        uint64_t group = rank * 2654435761U % n_groups; /* popular ones lie anywhere */
        return (uint32_t) (group * 64 + rnd(64));
}

static uint32_t access_scan(size_t i) {
        return (uint32_t) (i % N_BLOCKS);
}
static uint32_t access_loop(size_t i) { /* over more than fits: 2, 1.25 and 1.1 times the limit */
        return (uint32_t) (i % (N_BLOCKS * 3 / 10));
}
static uint32_t access_zipf(size_t i) {
        return zipf(N_BLOCKS / 64);
}
static uint32_t access_scan_and_hot(size_t i) { /* one reads it all, others a twentieth of it, by turns */
        return i % 2 == 0 ? (uint32_t) (i / 2 % N_BLOCKS) : (uint32_t) rnd(N_BLOCKS / 20) + N_BLOCKS / 2;
}
static uint32_t access_moving(size_t i) { /* what is hot changes five times */
        uint32_t hot = (uint32_t) (i / (N_ACCESSES / 5) * (N_BLOCKS / 5));
        return rnd(10) == 0 ? (uint32_t) rnd(N_BLOCKS) : hot + (uint32_t) rnd(N_BLOCKS / 12);
}

static const struct {
        const char *name;
        uint32_t (*next)(size_t i);
        const unsigned *shares;
} made_up[] = {
        { "scan", access_scan, usual_shares },
        { "loop", access_loop, loop_shares },
        { "zipf", access_zipf, usual_shares },
        { "scan+hot", access_scan_and_hot, usual_shares },
        { "moving", access_moving, usual_shares },
};

static NodeIndex choose_lru(MappingPool *pool) {
        NodeIndex chosen = 0;
        uint32_t oldest = UINT32_MAX;
        for (uint32_t i = 0, n = pool->n_nodes; i < n; i++) {
                Node *node;
                NodeIndex index = pool_next_leaf(pool, &node);
                if (index != 0 && node->used < oldest) {
                        oldest = node->used;
                        chosen = index;
                }
        }
        return chosen;
}

enum rule { RULE_OWN, RULE_LRU, RULE_DROP, N_RULES };

/* limit 0: none. Returns the bytes in use at the end. */
static uint64_t replay(const Trace *trace, enum rule rule, uint64_t limit, double *ret_rate) {
        MappingPool *pool;
        MappingCache *cache;
        uint64_t hits = 0;

        if (mapping_pool_new(UINT64_MAX, BLOCK, &pool) < 0 || mapping_cache_new(pool, &cache) < 0)
                fail("no memory");
        if (rule == RULE_LRU)
                pool->choose = choose_lru;
        if (limit > 0 && rule != RULE_DROP)
                pool->limit = limit;
        for (size_t i = 0; i < trace->n; i++) {
                uint64_t block = trace->blocks[i];
                struct fused_mapping m;
                if (rule == RULE_LRU)
                        pool->now++; /* every access is at a time of its own */
                if (mapping_cache_lookup(cache, block * BLOCK, &m)) {
                        hits++;
                        continue;
                }
                m = (struct fused_mapping){ .offset = block * BLOCK,
                                            .length = BLOCK,
                                            .type = FUSED_MAPPING_MAPPED,
                                            .dev = 1,
                                            .addr = (block * 2654435761U % 0xffffffffU) * BLOCK };
                if (mapping_cache_upsert(cache, &m) < 0)
                        fail("cannot insert");
                if (rule == RULE_DROP && limit > 0 && pool->used_bytes > limit)
                        (void) mapping_cache_invalidate(cache, 0, UINT64_MAX);
        }
        uint64_t bytes = pool->used_bytes;
        mapping_cache_free(cache);
        mapping_pool_free(pool);
        *ret_rate = 100.0 * (double) hits / (double) trace->n;
        return bytes;
}

static bool good_enough(const Trace *trace, unsigned share, const double rates[N_RULES]) {
        if (rates[RULE_OWN] >= rates[RULE_DROP] && (!trace->recorded || rates[RULE_OWN] >= ENOUGH_OF_LRU * rates[RULE_LRU]))
                return true;
        fprintf(stderr, "cache-policy: %s, %u %%: finds %.2f %%, exact LRU %.2f, drop everything %.2f\n", trace->name, share, rates[RULE_OWN],
                rates[RULE_LRU], rates[RULE_DROP]);
        return false;
}

static bool run(const Trace *trace, bool json) {
        static bool again;
        double all, rates[N_RULES];
        uint64_t bytes = replay(trace, RULE_OWN, 0, &all);
        bool good = true;

        for (size_t i = 0; i < N_SHARES; i++) {
                unsigned share = trace->shares[i];
                for (unsigned rule = 0; rule < N_RULES; rule++)
                        (void) replay(trace, rule, bytes * share / 100, &rates[rule]);
                if (json)
                        printf("%s\n  {\"trace\": \"%s\", \"accesses\": %zu, \"limit\": %u, \"own\": %.2f, \"lru\": %.2f, \"drop\": %.2f, "
                               "\"unlimited\": %.2f}",
                               again ? "," : "", trace->name, trace->n, share, rates[RULE_OWN], rates[RULE_LRU], rates[RULE_DROP], all);
                else
                        printf("%-12s  %8zu  %5u %%  %7.2f  %7.2f  %7.2f  %9.2f\n", trace->name, trace->n, share, rates[RULE_OWN],
                               rates[RULE_LRU], rates[RULE_DROP], all);
                again = true;
                good = good_enough(trace, share, rates) && good;
        }
        return good;
}

static void load(const char *path, Trace *ret) {
        const char *slash = strrchr(path, '/');
        FILE *f = fopen(path, "r");
        if (!f || fseek(f, 0, SEEK_END) < 0)
                fail(path);
        long size = ftell(f);
        rewind(f);
        *ret = (Trace){ .name = slash ? slash + 1 : path,
                        .n = (size_t) size / 4,
                        .blocks = malloc((size_t) size),
                        .shares = usual_shares,
                        .recorded = true };
        if (size < 4 || !ret->blocks || fread(ret->blocks, 4, ret->n, f) != ret->n)
                fail(path);
        (void) fclose(f);
}

int main(int argc, char **argv) {
        bool json = argc > 2 && strcmp(argv[2], "1") == 0, good = true;

        printf(json ? "[" : "trace         accesses    limit      own      lru     drop  unlimited   (found, %%)\n");
        for (size_t i = 0; i < ELEMENTSOF(made_up) && argc > 1 && strcmp(argv[1], "all") == 0; i++) {
                Trace trace = { .name = made_up[i].name,
                                .n = N_ACCESSES,
                                .shares = made_up[i].shares,
                                .blocks = malloc(N_ACCESSES * sizeof(uint32_t)) };
                if (!trace.blocks)
                        fail("no memory");
                for (size_t k = 0; k < trace.n; k++)
                        trace.blocks[k] = made_up[i].next(k);
                good = run(&trace, json) && good;
                free(trace.blocks);
        }
        for (int i = 3; i < argc; i++) {
                Trace trace;
                load(argv[i], &trace);
                good = run(&trace, json) && good;
                free(trace.blocks);
        }
        if (json)
                printf("\n]\n");
        return good ? 0 : 1;
}
