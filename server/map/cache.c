/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Remembers nothing: every lookup is a miss. Keeps the place until the cache is there. */

#include "map/cache.h"

struct MappingPool {
        uint64_t limit;
};
struct MappingCache {
        MappingPool *pool;
};

int mapping_pool_new(uint64_t limit, uint32_t block_size, MappingPool **ret) {
        *ret = calloc(1, sizeof **ret);
        return *ret ? 0 : -ENOMEM;
}

MappingPool *mapping_pool_free(MappingPool *pool) {
        free(pool);
        return NULL;
}

int mapping_cache_new(MappingPool *pool, MappingCache **ret) {
        *ret = calloc(1, sizeof **ret);
        return *ret ? 0 : -ENOMEM;
}

MappingCache *mapping_cache_free(MappingCache *cache) {
        free(cache);
        return NULL;
}

int mapping_cache_upsert(MappingCache *cache, const struct fused_mapping *mapping) {
        return 0;
}

int mapping_cache_invalidate(MappingCache *cache, uint64_t offset, uint64_t length) {
        return 0;
}

bool mapping_cache_lookup(MappingCache *cache, uint64_t pos, struct fused_mapping *ret) {
        return false;
}
