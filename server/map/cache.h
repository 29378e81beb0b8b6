/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mapping cache: what is known of where files live. A MappingCache is one side (read or write) of one file: an
 * ordered set of mappings that do not overlap. All caches of a mount share one MappingPool: its memory, its limit,
 * its eviction.
 *
 * Any number of threads may look up while one changes: lookups take no lock, never wait for each other, and start
 * over only if the very node they read was being changed. Changes of one cache are serialized inside. Offsets,
 * lengths and addresses are bytes, multiples of the block size; the types kept are HOLE, DELALLOC, MAPPED, UNWRITTEN
 * and INLINE, and on the write side PURE_OVERWRITE. */

#include "base/macro.h"
#include "fused-mapping.h"

typedef struct MappingPool MappingPool;
typedef struct MappingCache MappingCache;

/* limit: bytes for everything, the nodes and what belongs to them. block_size: a power of two, 512 to 65536. */
int mapping_pool_new(uint64_t limit, uint32_t block_size, MappingPool **ret) _must_check_;
MappingPool *mapping_pool_free(MappingPool *pool); /* no cache of it exists any more */
void mapping_pool_set_limit(MappingPool *pool, uint64_t limit); /* evicts down to it */
/* Evicts until no more than this is used (memory pressure); the limit stays. Returns bytes in use then. */
uint64_t mapping_pool_shrink(MappingPool *pool, uint64_t bytes);

typedef struct MappingPoolFacts {
        uint64_t bytes, limit, n_mappings, n_evicted;
} MappingPoolFacts;
void mapping_pool_facts(const MappingPool *pool, MappingPoolFacts *ret);

/* A cache without a tree has nothing that the pool could evict, and only who has it knows when no reader is inside. Where they have more than their
 * share of memory that is short, give_up() is to mapping_cache_evict() so many bytes of those that are idle. It is called within
 * mapping_cache_new(), _upsert(), mapping_pool_shrink() and _set_limit(), with no lock of the pool's held, from several threads. */
typedef void MappingGiveUp(void *userdata, uint64_t bytes);
void mapping_pool_set_give_up(MappingPool *pool, MappingGiveUp *give_up, void *userdata);
/* It has no tree, and nobody has looked into it since this was asked last. */
bool mapping_cache_is_idle(MappingCache *cache);
uint64_t mapping_cache_evict(MappingCache *cache); /* frees it; returns bytes */

int mapping_cache_new(MappingPool *pool, MappingCache **ret) _must_check_;
MappingCache *mapping_cache_free(MappingCache *cache); /* no reader is inside any more */

/* Replaces whatever is known of the mapping's range: neighbours are cut or split, and merged where type, flags, device
 * agree and both file and device are contiguous. -ENOMEM, -EINVAL (a type that is not kept, or not aligned). */
int mapping_cache_upsert(MappingCache *cache, const struct fused_mapping *mapping) _must_check_;
/* Forgets the range; mappings that reach over its ends are cut. length UINT64_MAX: to the end. */
int mapping_cache_invalidate(MappingCache *cache, uint64_t offset, uint64_t length) _must_check_;
/* The mapping that contains pos, whole. Counts as use for eviction. */
bool mapping_cache_lookup(MappingCache *cache, uint64_t pos, struct fused_mapping *ret);
/* The first mapping at or after pos: for tests and for walking. */
bool mapping_cache_next(MappingCache *cache, uint64_t pos, struct fused_mapping *ret);
uint64_t mapping_cache_count(const MappingCache *cache);
