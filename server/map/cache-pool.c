/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of a pool: nodes in chunks of 2 MiB, numbered through; a bit for each says whether it is taken. The
 * lowest free one is taken first, so that what is given back to the system can be cut off at the end. */

#include <string.h>
#include <sys/mman.h>

#include "map/cache-private.h"

#define TAKEN_BYTES ((size_t) CHUNKS_MAX * NODES_PER_CHUNK / 8)
#define LIMIT_MIN (64U * 1024)

static void *map_memory(size_t size) { /* NULL: there is none */
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return p == MAP_FAILED ? NULL : p;
}

static void unmap_memory(void *p, size_t size) {
        if (p)
                (void) munmap(p, size);
}

/* Aligned, so that it can be one huge page. */
static Node *chunk_map(bool small) {
        unsigned char *p = map_memory(2 * CHUNK_BYTES);
        if (!p)
                return NULL;
        size_t before = (CHUNK_BYTES - (uintptr_t) p % CHUNK_BYTES) % CHUNK_BYTES;
        if (before > 0)
                unmap_memory(p, before);
        unmap_memory(p + before + CHUNK_BYTES, CHUNK_BYTES - before);
        (void) madvise(p + before, CHUNK_BYTES, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE); /* only speed depends on it */
        return (Node *) (void *) (p + before);
}

int mapping_pool_new(uint64_t limit, uint32_t block_size, MappingPool **ret) {
        if (block_size < 512 || block_size > 65536 || (block_size & (block_size - 1)) != 0)
                return -EINVAL;
        MappingPool *pool = calloc(1, sizeof(MappingPool));
        if (!pool)
                return -ENOMEM;
        pthread_mutex_init(&pool->lock, NULL);
        pthread_mutex_init(&pool->evicting, NULL);
        pool->chunks = map_memory(CHUNKS_MAX * sizeof(Node *));
        pool->kinds = map_memory(KINDS_MAX * sizeof(uint64_t));
        pool->taken = map_memory(TAKEN_BYTES);
        if (!pool->chunks || !pool->kinds || !pool->taken) {
                mapping_pool_free(pool);
                return -ENOMEM;
        }
        pool->block_shift = (unsigned) __builtin_ctz(block_size);
        pool->limit = MAX_OF(limit, (uint64_t) LIMIT_MIN);
        pool->n_nodes = pool->first_free = 1; /* 0 is no node */
        pool->taken[0] = 1;
        pool->hand = 1;
        pool->now = 1;
        pool->choose = pool_choose;
        *ret = pool;
        return 0;
}

MappingPool *mapping_pool_free(MappingPool *pool) {
        if (!pool)
                return NULL;
        for (uint32_t i = 0; i < pool->n_chunks; i++)
                unmap_memory(LOAD(&pool->chunks[i]), CHUNK_BYTES);
        unmap_memory((void *) pool->chunks, CHUNKS_MAX * sizeof(Node *));
        unmap_memory((void *) pool->kinds, KINDS_MAX * sizeof(uint64_t));
        unmap_memory(pool->taken, TAKEN_BYTES);
        pthread_mutex_destroy(&pool->evicting);
        pthread_mutex_destroy(&pool->lock);
        free(pool);
        return NULL;
}

static NodeIndex find_free(MappingPool *pool) { /* first_free..n_nodes; n_nodes itself if all are taken */
        uint32_t i = pool->first_free;
        while (i < pool->n_nodes) {
                uint64_t free_bits = ~(pool->taken[i / 64] >> i % 64 << i % 64) & (UINT64_MAX << i % 64);
                if (free_bits != 0)
                        return MIN_OF(i / 64 * 64 + (uint32_t) __builtin_ctzll(free_bits), pool->n_nodes);
                i = (i / 64 + 1) * 64;
        }
        return pool->n_nodes;
}

NodeIndex pool_take(MappingPool *pool) {
        pthread_mutex_lock(&pool->lock);
        NodeIndex index = find_free(pool);
        uint32_t life = 0;

        if (index == pool->n_nodes && index / NODES_PER_CHUNK == pool->n_chunks) {
                Node *chunk = pool->n_chunks == CHUNKS_MAX ? NULL : chunk_map(pool->n_chunks < CHUNKS_SMALL);
                if (chunk)
                        atomic_store_explicit(&pool->chunks[pool->n_chunks++], chunk, memory_order_release);
                else
                        index = 0;
        }
        if (index > 0) {
                if (index == pool->n_nodes)
                        pool->n_nodes++;
                else
                        atomic_fetch_sub(&pool->free_bytes, NODE_SIZE);
                pool->first_free = index + 1;
                pool->taken[index / 64] |= UINT64_C(1) << index % 64;
                pool->n_taken++;
                atomic_fetch_add(&pool->used_bytes, NODE_SIZE);
                life = ++pool->life == 0 ? ++pool->life : pool->life;
        }
        pthread_mutex_unlock(&pool->lock);
        if (index > 0) {
                Node *node = pool_node(pool, index);
                STORE(&node->version, (uint64_t) life << 32 | 1);
                atomic_thread_fence(memory_order_release);
                STORE(&node->used, LOAD(&pool->now));
                STORE(&node->level, 0);
                STORE(&node->shape, 0);
        }
        return index;
}

void pool_give(MappingPool *pool, NodeIndex index) {
        Node *node = pool_node(pool, index);
        STORE(&node->owner, NULL);
        atomic_store_explicit(&node->version, 0, memory_order_release);
        pthread_mutex_lock(&pool->lock);
        pool->taken[index / 64] &= ~(UINT64_C(1) << index % 64);
        pool->n_taken--;
        pool->first_free = MIN_OF(pool->first_free, index);
        atomic_fetch_sub(&pool->used_bytes, NODE_SIZE);
        atomic_fetch_add(&pool->free_bytes, NODE_SIZE);
        pthread_mutex_unlock(&pool->lock);
}

int pool_kind(MappingPool *pool, uint16_t type, uint16_t flags, uint32_t dev, uint32_t *ret) {
        uint64_t kind = (uint64_t) dev << 32 | (uint32_t) flags << 16 | type;
        uint32_t n = atomic_load_explicit(&pool->n_kinds, memory_order_acquire), i = 0;

        while (i < n && LOAD(&pool->kinds[i]) != kind)
                i++;
        if (i == n) { /* a new one, or another thread's new one */
                pthread_mutex_lock(&pool->lock);
                n = LOAD(&pool->n_kinds);
                while (i < n && LOAD(&pool->kinds[i]) != kind)
                        i++;
                if (i == n && n < KINDS_MAX) {
                        STORE(&pool->kinds[n], kind);
                        atomic_store_explicit(&pool->n_kinds, n + 1, memory_order_release);
                }
                pthread_mutex_unlock(&pool->lock);
                if (i == KINDS_MAX)
                        return -ENOMEM;
        }
        *ret = i;
        return 0;
}

static bool last_taken(MappingPool *pool, NodeIndex *ret) { /* under pool->lock */
        for (uint32_t word = (pool->n_nodes + 63) / 64; word-- > 0;) /* bits from n_nodes on are zero */
                if (pool->taken[word] != 0) {
                        *ret = word * 64 + 63 - (uint32_t) __builtin_clzll(pool->taken[word]);
                        return *ret > 0;
                }
        *ret = 0;
        return false;
}

static void give_back(MappingPool *pool) { /* the memory from the last node on; under pool->lock */
        NodeIndex last;
        uint32_t n = last_taken(pool, &last) ? last + 1 : 1, chunk = n / NODES_PER_CHUNK;
        size_t page = 4096;

        for (uint32_t i = chunk; i < pool->n_chunks; i++) {
                size_t from = i > chunk ? 0 : ALIGN_TO((size_t) (n % NODES_PER_CHUNK) * NODE_SIZE, page);
                if (from > 0 && i >= CHUNKS_SMALL)
                        continue; /* would break up a huge page */
                if (from < CHUNK_BYTES)
                        (void) madvise((unsigned char *) LOAD(&pool->chunks[i]) + from, CHUNK_BYTES - from,
                                       MADV_DONTNEED);
        }
        atomic_fetch_sub(&pool->free_bytes, (uint64_t) (pool->n_nodes - n) * NODE_SIZE);
        pool->n_nodes = n;
        pool->first_free = MIN_OF(pool->first_free, n);
}

void pool_trim(MappingPool *pool) {
        for (;;) {
                NodeIndex last;
                pthread_mutex_lock(&pool->lock);
                bool move = last_taken(pool, &last) && last >= pool->n_taken + 1 && find_free(pool) < last;
                pthread_mutex_unlock(&pool->lock);
                if (!move)
                        break;
                Node *node = pool_node(pool, last);
                MappingCache *owner = atomic_load_explicit(&node->owner, memory_order_acquire);
                bool moved = false;
                if (owner) { /* cannot be freed meanwhile: evicting is held */
                        pthread_mutex_lock(&owner->lock);
                        moved = LOAD(&node->owner) == owner && cache_move_node(owner, last);
                        pthread_mutex_unlock(&owner->lock);
                }
                if (!moved) /* a writer has just taken or given it: the next time */
                        break;
        }
        pthread_mutex_lock(&pool->lock);
        give_back(pool);
        pthread_mutex_unlock(&pool->lock);
}

static uint64_t bytes_now(const MappingPool *pool) {
        return LOAD(&pool->used_bytes) + LOAD(&pool->free_bytes);
}

void mapping_pool_facts(const MappingPool *pool, MappingPoolFacts *ret) {
        *ret = (MappingPoolFacts){ .bytes = bytes_now(pool), .limit = LOAD(&pool->limit),
                .n_mappings = LOAD(&pool->n_mappings), .n_evicted = LOAD(&pool->n_evicted) };
}

uint64_t mapping_pool_shrink(MappingPool *pool, uint64_t bytes) {
        pool_give_up_small(pool, bytes);
        pthread_mutex_lock(&pool->evicting);
        pool_evict_to(pool, bytes);
        pool_trim(pool);
        pthread_mutex_unlock(&pool->evicting);
        return bytes_now(pool);
}

void mapping_pool_set_limit(MappingPool *pool, uint64_t limit) {
        STORE(&pool->limit, MAX_OF(limit, (uint64_t) LIMIT_MIN));
        if (bytes_now(pool) > LOAD(&pool->limit))
                (void) mapping_pool_shrink(pool, LOAD(&pool->limit));
}
