/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a cache, and what others do to its nodes: eviction and packing. */

#include "map/cache-change.h"

int mapping_cache_new(MappingPool *pool, MappingCache **ret) {
        MappingCache *cache = calloc(1, sizeof(MappingCache));
        if (!cache)
                return -ENOMEM;
        cache->pool = pool;
        pthread_mutex_init(&cache->lock, NULL);
        atomic_fetch_add(&pool->used_bytes, sizeof(MappingCache));
        atomic_fetch_add(&pool->small_bytes, sizeof(MappingCache));
        if (LOAD(&pool->used_bytes) > LOAD(&pool->limit))
                pool_keep_limit(pool);
        *ret = cache;
        return 0;
}

MappingCache *mapping_cache_free(MappingCache *cache) {
        if (!cache)
                return NULL;
        MappingPool *pool = cache->pool;
        pthread_mutex_lock(&pool->evicting); /* nobody else is at its nodes */
        cache_clear(cache);
        atomic_fetch_sub(&pool->used_bytes, sizeof(MappingCache));
        atomic_fetch_sub(&pool->small_bytes, sizeof(MappingCache)); /* the tree is gone */
        if (LOAD(&pool->free_bytes) > 2 * CHUNK_BYTES && LOAD(&pool->free_bytes) > LOAD(&pool->used_bytes))
                pool_trim(pool);
        pthread_mutex_unlock(&pool->evicting);
        cache_free_hints(cache);
        pthread_mutex_destroy(&cache->lock);
        free(cache);
        return NULL;
}

bool mapping_cache_is_idle(MappingCache *cache) {
        return LOAD(&cache->root) == 0 && !atomic_exchange_explicit(&cache->used, false, memory_order_relaxed);
}

uint64_t mapping_cache_evict(MappingCache *cache) {
        atomic_fetch_add(&cache->pool->n_evicted, mapping_cache_count(cache));
        mapping_cache_free(cache);
        return sizeof(MappingCache);
}

uint64_t mapping_cache_count(const MappingCache *cache) {
        return LOAD(&cache->n_mappings);
}

static void give_tree(MappingPool *pool, NodeIndex index, unsigned level) {
        Node *node = pool_node(pool, index);
        uint64_t shape = LOAD(&node->shape), version = LOAD(&node->version);

        STORE(&node->version, version | 1);
        for (unsigned i = 0; level > 0 && i < shape_count(shape); i++)
                give_tree(pool, inner_child(node, shape, i), level - 1);
        pool_give(pool, index);
}

void cache_clear(MappingCache *cache) {
        Change c;
        uint64_t root = LOAD(&cache->root);

        change_begin(&c, cache);
        change_set_inline(&c, NULL, 0);
        change_set_root(&c, 0);
        c.delta = -(int64_t) LOAD(&cache->n_mappings);
        change_end(&c);
        if (root != 0)
                give_tree(cache->pool, root_node(root), root_height(root) - 1);
}

/* Any block of the first record below it. */
static uint64_t block_below(const MappingPool *pool, const Node *node) {
        while (LOAD(&node->level) > 0)
                node = pool_node(pool, inner_child(node, LOAD(&node->shape), 0));
        return LOAD(&node->base);
}

uint64_t cache_drop_leaf(MappingCache *cache, NodeIndex index) {
        Node *node = pool_node(cache->pool, index);
        unsigned n = 0;
        Change c;

        if (LOAD(&node->owner) != cache || LOAD(&node->level) > 0)
                return 0;
        change_begin(&c, cache);
        change_descend(&c, LOAD(&node->base));
        if (c.height > 0 && c.nodes[0] == index) {
                n = shape_count(LOAD(&node->shape));
                if (change_store(&c, NULL, 0, n, -1) < 0)
                        n = 0; /* it is empty, but not gone */
        }
        change_end(&c);
        return n;
}

static void copy_node(Node *to, const Node *from) {
        const _Atomic uint64_t *source = (const void *) from->body;
        _Atomic uint64_t *target = (void *) to->body;

        STORE(&to->used, LOAD(&from->used));
        STORE(&to->shape, LOAD(&from->shape));
        STORE(&to->base, LOAD(&from->base));
        STORE(&to->addr_base, LOAD(&from->addr_base));
        STORE(&to->end, LOAD(&from->end));
        STORE(&to->kind_base, LOAD(&from->kind_base));
        for (unsigned i = 0; i < NODE_BODY / sizeof(uint64_t); i++)
                STORE(&target[i], LOAD(&source[i]));
}

bool cache_move_node(MappingCache *cache, NodeIndex index) {
        const Node *node = pool_node(cache->pool, index);
        unsigned level = LOAD(&node->level);
        bool moved = false;
        Change c;

        change_begin(&c, cache);
        change_descend(&c, block_below(cache->pool, node));
        if (level < c.height && c.nodes[level] == index && change_reserve(&c, c.height + 2) >= 0) {
                NodeIndex to = change_new_node(&c, level);
                copy_node(pool_node(cache->pool, to), node);
                change_drop(&c, index);
                change_children(&c, level + 1, level + 1 < c.height ? c.at[level + 1] : 0, 1,
                                &(const Child){ c.low[level], to }, 1);
                moved = true;
        }
        change_end(&c);
        return moved;
}
