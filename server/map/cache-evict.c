/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Eviction, by whole leaves. Of a few leaves that a hand comes to, the one goes whose second last use is longest ago
 * ("LRU-2"): what was used in one burst only, as by a program that reads a file once, goes before what is come back
 * to. Time advances with evictions, by a sixteenth of the leaves, so that a burst is one use, and no clock is read. */

#include "map/cache-private.h"

#define CANDIDATES 8U
#define PARTS_OF_A_ROUND 16U

NodeIndex pool_next_leaf(MappingPool *pool, Node **ret) {
        uint32_t n = LOAD(&pool->n_nodes);
        NodeIndex index = pool->hand;

        if (index >= n)
                index = 1;
        pool->hand = index + 1;
        if (index >= n)
                return 0;
        Node *node = pool_node(pool, index);
        if (!node || !LOAD(&node->owner) || LOAD(&node->level) > 0)
                return 0;
        *ret = node;
        return index;
}

NodeIndex pool_choose(MappingPool *pool) {
        uint32_t n = LOAD(&pool->n_nodes), now = LOAD(&pool->now), age = 0;
        NodeIndex chosen = 0;
        uint64_t oldest = 0;

        for (unsigned i = 0, found = 0; i < 2 * n && found < CANDIDATES; i++) {
                Node *node;
                NodeIndex index = pool_next_leaf(pool, &node);
                if (index == 0)
                        continue;
                uint64_t used = LOAD(&node->used);
                uint32_t last = now - (uint32_t) (used >> 32),
                         before = (uint32_t) used == 0 ? UINT32_MAX : now - (uint32_t) used;
                found++;
                if (chosen == 0 || before > oldest || (before == oldest && last > age)) {
                        chosen = index;
                        oldest = before;
                        age = last;
                }
        }
        return chosen;
}

void pool_evict_to(MappingPool *pool, uint64_t bytes) {
        unsigned in_vain = 0;

        while (LOAD(&pool->used_bytes) > bytes && in_vain < 64) {
                NodeIndex index = pool->choose(pool);
                if (index == 0)
                        break; /* what is left are the caches themselves */
                MappingCache *owner = LOAD(&pool_node(pool, index)->owner);
                uint64_t n = 0;
                if (owner) {
                        pthread_mutex_lock(&owner->lock);
                        n = cache_drop_leaf(owner, index);
                        pthread_mutex_unlock(&owner->lock);
                }
                in_vain = n == 0 ? in_vain + 1 : 0;
                atomic_fetch_add(&pool->n_evicted, n);
                if (++pool->evicted_since >= LOAD(&pool->n_taken) / PARTS_OF_A_ROUND) {
                        pool->evicted_since = 0;
                        uint32_t now = LOAD(&pool->now) + 1;
                        STORE(&pool->now, now == 0 ? 1 : now);
                }
        }
}

void pool_keep_limit(MappingPool *pool) {
        uint64_t limit = LOAD(&pool->limit);
        pthread_mutex_lock(&pool->evicting);
        pool_evict_to(pool, limit);
        if (LOAD(&pool->used_bytes) + LOAD(&pool->free_bytes) >
            limit + limit / 8) /* what caches use now, nodes did before */
                pool_trim(pool);
        pthread_mutex_unlock(&pool->evicting);
}
