/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lookup-driver ROUNDS JSON SIZE...: what a lookup of one extent costs among SIZE of them, and what an extent takes
 * in memory: in the mapping cache, in a sorted array of 32-byte records with bsearch(3), and in a red-black tree
 * (tsearch(3)) of such records. As a lower bound for any structure larger than the processor's caches: one read at a place that
 * the position asked for decides, in memory of the mapping cache's size.
 *
 * Extents are 1 to 64 blocks long, one in eight has a gap before it, their places on the device are random. random:
 * positions that are independent of each other; chained: each depends on what was found for the one before;
 * sequential: extent after extent. The three take turns; medians of the rounds. Bytes: what malloc and the pool have
 * taken, over the extents. */

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "map/cache.h"

#define BLOCK 4096U
#define TREE_MAX 10000000U /* more than that takes minutes to build, and memory that a machine may not have */
#define ROUNDS_MAX 15U

enum structure { CACHE, ARRAY, TREE, MEMORY, N_STRUCTURES };
enum pattern { RANDOM, CHAINED, SEQUENTIAL, N_PATTERNS };
static const char *const structure_names[] = { "cache", "array", "tree", "memory" };
static const char *const pattern_names[] = { "random", "chained", "sequential" };

typedef struct Set {
        uint64_t n;
        struct fused_mapping *array;
        MappingCache *cache;
        void *tree;
        uint64_t *memory, scale; /* words, and which belongs to a position, times 2^64 */
        bool present[N_STRUCTURES];
} Set;

static _noreturn_ void fail(const char *what) {
        fprintf(stderr, "lookup: %s\n", what);
        exit(1);
}

static uint64_t rnd(uint64_t *state) { /* xorshift64* */
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(2685821657736338717);
}

static uint64_t nsec(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static int compare_number(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;
        return (x > y) - (x < y);
}

/* The key is a mapping of length 0 at the position looked for. */
static int compare(const void *a, const void *b) {
        const struct fused_mapping *x = a, *y = b;
        if (x->offset < y->offset)
                return y->offset >= x->offset + MAX_OF(x->length, UINT64_C(1)) ? -1 : 0;
        return x->offset >= y->offset + MAX_OF(y->length, UINT64_C(1)) ? 1 : 0;
}

static bool look(const Set *set, enum structure structure, uint64_t pos, struct fused_mapping *ret) {
        struct fused_mapping key = { .offset = pos }, *found;
        void *const *node;
        switch (structure) {
        case CACHE:
                return mapping_cache_lookup(set->cache, pos, ret);
        case ARRAY:
                found = bsearch(&key, set->array, set->n, sizeof(key), compare);
                break;
        case TREE:
                node = tfind(&key, &set->tree, compare);
                found = node ? *node : NULL;
                break;
        case MEMORY:
                *ret = (struct fused_mapping){ .offset = pos,
                                               .length = BLOCK,
                                               .addr = set->memory[(unsigned __int128) pos * set->scale >> 64] };
                return true;
        case N_STRUCTURES:
        default:
                return false;
        }
        if (found)
                *ret = *found;
        return found;
}

typedef struct Job {
        const Set *set;
        enum structure structure;
        enum pattern pattern;
        uint64_t seed, n_lookups, missed, sum, started, ended; /* the latter in nsec */
        pthread_barrier_t *start;
} Job;

static void *job_run(void *userdata) {
        Job *job = userdata;
        const Set *set = job->set;
        uint64_t state = job->seed, end = set->array[set->n - 1].offset, sum = 0, missed = 0, pos = 0;
        struct fused_mapping m = { 0 };

        pthread_barrier_wait(job->start);
        job->started = nsec();
        for (uint64_t i = 0; i < job->n_lookups; i++) {
                if (job->pattern == SEQUENTIAL)
                        pos = i == 0 || m.offset + m.length >= end ? set->array[0].offset : m.offset + m.length;
                else
                        pos = (uint64_t) ((unsigned __int128) rnd(&state) * end >> 64);
                if (look(set, job->structure, pos, &m))
                        sum += m.addr;
                else { /* a gap */
                        missed++;
                        m.offset = pos;
                        m.length = BLOCK;
                }
                if (job->pattern == CHAINED)
                        state ^= m.addr == 1; /* never; but that is not known before m is */
        }
        job->ended = nsec();
        job->sum = sum;
        job->missed = missed;
        return NULL;
}

/* Nanoseconds for each lookup of each thread. sum: of the addresses found, the same for every structure. */
static double measure(const Set *set, enum structure structure, enum pattern pattern, unsigned threads,
                      uint64_t n_lookups, uint64_t *ret_sum) {
        Job jobs[2];
        pthread_t ids[2];
        pthread_barrier_t start;

        pthread_barrier_init(&start, NULL, threads);
        for (unsigned i = 0; i < threads; i++) {
                jobs[i] = (Job){ .set = set,
                                 .structure = structure,
                                 .pattern = pattern,
                                 .seed = 88172645463325252 + i,
                                 .n_lookups = n_lookups,
                                 .start = &start };
                if (pthread_create(&ids[i], NULL, job_run, &jobs[i]) != 0)
                        fail("cannot start a thread");
        }
        uint64_t from = UINT64_MAX, to = 0;
        *ret_sum = 0;
        for (unsigned i = 0; i < threads; i++) {
                pthread_join(ids[i], NULL);
                *ret_sum += jobs[i].sum;
                from = MIN_OF(from, jobs[i].started);
                to = MAX_OF(to, jobs[i].ended);
        }
        pthread_barrier_destroy(&start);
        return (double) (to - from) / (double) n_lookups;
}

static void make_extents(Set *set, uint64_t n) {
        uint64_t state = 42, offset = 0;
        set->n = n;
        set->array = malloc(n * sizeof(struct fused_mapping));
        if (!set->array)
                fail("no memory");
        for (uint64_t i = 0; i < n; i++) {
                uint64_t r = rnd(&state), blocks = 1 + (r & 63);
                offset += (r >> 8 & 7) == 0 ? BLOCK * (1 + (r >> 11 & 15)) : 0;
                set->array[i] = (struct fused_mapping){ .offset = offset,
                                                        .length = blocks * BLOCK,
                                                        .addr = (r >> 36) * BLOCK,
                                                        .type = FUSED_MAPPING_MAPPED,
                                                        .dev = 1 };
                offset += blocks * BLOCK;
        }
}

static void make_memory(Set *set, uint64_t bytes) {
        uint64_t n = bytes / sizeof(uint64_t), state = 7;
        set->memory = malloc(n * sizeof(uint64_t));
        if (!set->memory)
                fail("no memory");
        for (uint64_t i = 0; i < n; i++)
                set->memory[i] = rnd(&state);
        set->scale = (uint64_t) (((unsigned __int128) n << 64) / (set->array[set->n - 1].offset + BLOCK));
}

static uint32_t *permutation(uint64_t n) {
        uint64_t state = 4711;
        uint32_t *p = malloc(n * sizeof(uint32_t));
        if (!p)
                fail("no memory");
        for (uint64_t i = 0; i < n; i++)
                p[i] = (uint32_t) i;
        for (uint64_t i = n; i > 1; i--) {
                uint64_t k = (uint64_t) ((unsigned __int128) rnd(&state) * i >> 64);
                uint32_t t = p[i - 1];
                p[i - 1] = p[k];
                p[k] = t;
        }
        return p;
}

static size_t allocated(void) {
        struct mallinfo2 m = mallinfo2();
        return m.uordblks + m.hblkhd;
}

static void keep(void *node) {
}

/* One size, inserted in one order: a row for each structure. */
static void run(uint64_t n, bool shuffled, unsigned rounds, bool json, bool *first) {
        Set set = { .present = { true, true, n <= TREE_MAX, true } };
        MappingPool *pool;
        MappingPoolFacts facts;
        double bytes[N_STRUCTURES] = { 0 }, insert, ns[N_STRUCTURES][N_PATTERNS][2][ROUNDS_MAX];
        uint64_t n_lookups = n < 200000 ? 200000 : n > 2000000 ? 2000000 : n;

        make_extents(&set, n);
        uint32_t *order = shuffled ? permutation(n) : NULL;
        if (mapping_pool_new(UINT64_MAX, BLOCK, &pool) < 0 || mapping_cache_new(pool, &set.cache) < 0)
                fail("no memory");
        uint64_t before = nsec();
        for (uint64_t i = 0; i < n; i++)
                if (mapping_cache_upsert(set.cache, set.array + (order ? order[i] : i)) < 0)
                        fail("cannot insert");
        insert = (double) (nsec() - before) / (double) n;
        mapping_pool_facts(pool, &facts);
        bytes[CACHE] = (double) facts.bytes / (double) n;
        bytes[MEMORY] = bytes[CACHE];
        make_memory(&set, facts.bytes);
        bytes[ARRAY] = sizeof(struct fused_mapping);
        size_t heap = allocated();
        for (uint64_t i = 0; i < n && set.present[TREE]; i++)
                if (!tsearch(set.array + (order ? order[i] : i), &set.tree, compare))
                        fail("no memory");
        bytes[TREE] = sizeof(struct fused_mapping) + (double) (allocated() - heap) / (double) n;
        free(order);

        for (unsigned round = 0; round < rounds; round++)
                for (unsigned pattern = 0; pattern < N_PATTERNS; pattern++)
                        for (unsigned threads = 1; threads <= 2; threads++) {
                                uint64_t sums[N_STRUCTURES];
                                for (unsigned k = 0; k < N_STRUCTURES; k++) {
                                        unsigned s = (k + round) % N_STRUCTURES;
                                        if (set.present[s])
                                                ns[s][pattern][threads - 1][round] =
                                                                measure(&set, s, pattern, threads, n_lookups, &sums[s]);
                                }
                                if (sums[CACHE] != sums[ARRAY] || (set.present[TREE] && sums[TREE] != sums[ARRAY]))
                                        fail("they do not find the same");
                        }
        for (unsigned s = 0; s < N_STRUCTURES; s++) {
                if (!set.present[s])
                        continue;
                if (json)
                        printf("%s\n  {\"extents\": %" PRIu64
                               ", \"inserted\": \"%s\", \"structure\": \"%s\", \"bytes\": %.2f",
                               *first ? "" : ",", n, shuffled ? "random" : "sequential", structure_names[s], bytes[s]);
                else
                        printf("%10" PRIu64 "  %-10s  %-6s %6.2f", n, shuffled ? "random" : "sequential",
                               structure_names[s], bytes[s]);
                *first = false;
                for (unsigned pattern = 0; pattern < N_PATTERNS; pattern++)
                        for (unsigned t = 0; t < 2; t++) {
                                qsort(ns[s][pattern][t], rounds, sizeof(double), compare_number);
                                double median = ns[s][pattern][t][rounds / 2];
                                if (json)
                                        printf(", \"ns_%s_%u\": %.1f", pattern_names[pattern], t + 1, median);
                                else
                                        printf("  %7.1f", median);
                        }
                if (s == CACHE)
                        printf(json ? ", \"ns_insert\": %.0f" : "  %6.0f", insert);
                printf(json ? "}" : "\n");
        }
        fflush(stdout);
        tdestroy(set.tree, keep);
        mapping_cache_free(set.cache);
        mapping_pool_free(pool);
        free(set.memory);
        free(set.array);
}

int main(int argc, char **argv) {
        bool first = true, json = argc > 2 && strcmp(argv[2], "1") == 0;
        unsigned rounds = argc > 1 ? (unsigned) atoi(argv[1]) : 0;
        if (argc < 4 || rounds < 1 || rounds > ROUNDS_MAX)
                fail("usage: lookup-driver ROUNDS JSON SIZE...");
        if (json)
                printf("{\"bench\": \"lookup\", \"rounds\": %u, \"rows\": [", rounds);
        else
                printf("   extents  inserted    what     bytes  random/1 random/2  chain/1  chain/2    seq/1    seq/2  "
                       "insert   (ns; 1 or 2 threads)\n");
        for (int i = 3; i < argc; i++)
                for (unsigned shuffled = 0; shuffled < 2; shuffled++)
                        run(strtoull(argv[i], NULL, 10), shuffled, rounds, json, &first);
        if (json)
                printf("\n]}\n");
        return 0;
}
