/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache-policy-driver all|recorded JSON TRACE...: how often a mapping is found, by what is evicted when the pool is full: by the
 * pool's own rule, the leaf that was used longest ago ("lru", exact), or everything ("drop", what the kernel's cache
 * does). All three run in the very same cache.
 *
 * A trace is a file of 32-bit little-endian numbers: blocks in the order in which they were asked for (traces/record
 * makes them). Some are made up here, always the same. Each block is a mapping of its own, as in a file that is
 * fragmented as badly as can be. The limit is a share of what the cache takes when it keeps everything. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "map/cache-private.h"

#define BLOCK 4096U
#define N_BLOCKS 200000U
#define N_ACCESSES 400000U

typedef struct Trace {
        const char *name;
        uint32_t *blocks;
        size_t n;
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

/* Ranks by Zipf's law (s = 1), 64 neighbouring blocks of each rank: rank n * u^... by inversion of the harmonic sum. */
static uint32_t zipf(uint32_t n_groups) {
        double u = (double) rnd(UINT64_C(1) << 53) / (double) (UINT64_C(1) << 53);
        uint64_t rank = (uint64_t) (exp(u * log((double) n_groups + 1)) - 1);
        uint64_t group = rank * 2654435761U % n_groups; /* popular ones lie anywhere */
        return (uint32_t) (group * 64 + rnd(64));
}

static uint32_t access_scan(size_t i) {
        return (uint32_t) (i % N_BLOCKS);
}
static uint32_t access_loop(size_t i) { /* a little more than fits into a quarter */
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
} made_up[] = {
        { "scan", access_scan },
        { "loop", access_loop },
        { "zipf", access_zipf },
        { "scan+hot", access_scan_and_hot },
        { "moving", access_moving },
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

static void run(const Trace *trace, bool json) {
        static bool again;
        static const unsigned shares[] = { 10, 25, 50 };
        double all, rates[N_RULES];
        uint64_t bytes = replay(trace, RULE_OWN, 0, &all);

        for (size_t i = 0; i < ELEMENTSOF(shares); i++) {
                for (unsigned rule = 0; rule < N_RULES; rule++)
                        (void) replay(trace, rule, bytes * shares[i] / 100, &rates[rule]);
                if (json)
                        printf("%s\n  {\"trace\": \"%s\", \"accesses\": %zu, \"limit\": %u, \"own\": %.2f, \"lru\": %.2f, \"drop\": %.2f, "
                               "\"unlimited\": %.2f}",
                               again ? "," : "", trace->name, trace->n, shares[i], rates[RULE_OWN], rates[RULE_LRU], rates[RULE_DROP], all);
                else
                        printf("%-12s  %8zu  %5u %%  %7.2f  %7.2f  %7.2f  %9.2f\n", trace->name, trace->n, shares[i],
                               rates[RULE_OWN], rates[RULE_LRU], rates[RULE_DROP], all);
                again = true;
        }
}

static void load(const char *path, Trace *ret) {
        const char *slash = strrchr(path, '/');
        FILE *f = fopen(path, "r");
        if (!f || fseek(f, 0, SEEK_END) < 0)
                fail(path);
        long size = ftell(f);
        rewind(f);
        *ret = (Trace){ .name = slash ? slash + 1 : path, .n = (size_t) size / 4, .blocks = malloc((size_t) size) };
        if (size < 4 || !ret->blocks || fread(ret->blocks, 4, ret->n, f) != ret->n)
                fail(path);
        (void) fclose(f);
}

int main(int argc, char **argv) {
        bool json = argc > 2 && strcmp(argv[2], "1") == 0;

        printf(json ? "[" : "trace         accesses    limit      own      lru     drop  unlimited   (found, %%)\n");
        for (size_t i = 0; i < ELEMENTSOF(made_up) && argc > 1 && strcmp(argv[1], "all") == 0; i++) {
                Trace trace = { .name = made_up[i].name,
                                .n = N_ACCESSES,
                                .blocks = malloc(N_ACCESSES * sizeof(uint32_t)) };
                if (!trace.blocks)
                        fail("no memory");
                for (size_t k = 0; k < trace.n; k++)
                        trace.blocks[k] = made_up[i].next(k);
                run(&trace, json);
                free(trace.blocks);
        }
        for (int i = 3; i < argc; i++) {
                Trace trace;
                load(argv[i], &trace);
                run(&trace, json);
                free(trace.blocks);
        }
        if (json)
                printf("\n]\n");
        return 0;
}
