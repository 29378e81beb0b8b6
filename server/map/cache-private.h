/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of the mapping cache. A cache is a B+tree of nodes of one size; the leaves hold packed records. With
 * few records there is no tree: they stand in the cache itself.
 *
 * Readers are optimistic. A node's version is read before its content and compared after it; a reader that finds
 * another, or an odd one (being changed), starts over. Nodes are type-stable: memory of one is never anything but a
 * node (or zeroes, once it was given back), so that a late reader reads rubbish but never outside, and throws it
 * away. A version begins with a number that no other life of any node of the pool has had. All content is accessed
 * by relaxed atomics.
 *
 * Locks: pool->evicting, then cache->lock, then pool->lock; each may be left out. Readers take none (after many
 * collisions, cache->lock). */

#include <pthread.h>
#include <stdatomic.h>

#include "map/cache.h"

#define NODE_SIZE 1024U
#define NODE_BODY (NODE_SIZE - 64U)
#define NODES_PER_CHUNK (2097152U / NODE_SIZE)
#define CHUNK_BYTES ((size_t) NODES_PER_CHUNK * NODE_SIZE)
#define CHUNKS_MAX 131072U         /* 256 GiB */
#define CHUNKS_SMALL 4U            /* so many of a pool are made of small pages */
#define RECORDS_MAX 192U           /* of a leaf */
#define INLINE_RECORDS 2U          /* of a cache without a tree */
#define HEIGHT_MAX 12U
#define KINDS_MAX 65535U

typedef uint32_t NodeIndex; /* 0: none */

/* A mapping in blocks. addr is the block on the device + 1, 0: none. kind: index into the pool's table of (type,
 * flags, device). */
typedef struct Record {
        uint64_t start, len, addr;
        uint32_t kind;
} Record;

typedef struct Child {
        uint64_t key; /* of its records, none starts before it, and none of the child on the left ends after it; that of
                         child 0 is not looked at */
        NodeIndex node;
} Child;

/* shape says how many records or children there are and how wide and where the columns of the body are (cache-
 * pack.h). */
typedef struct Node {
        _Atomic uint64_t version; /* life << 32 | changes << 1 | being changed; 0: not in use */
        _Atomic uint32_t used;    /* leaf: pool->now of the last use */
        uint32_t reserved;
        _Atomic uint64_t shape;
        _Atomic uint64_t base;    /* what starts or keys in the body are relative to */
        union {
                _Atomic uint64_t addr_base;
                _Atomic uint64_t low; /* inner: it has what is from here on, at least, */
        };
        union {
                _Atomic uint64_t end;  /* leaf: of the last record */
                _Atomic uint64_t high; /* and to here */
        };
        MappingCache *_Atomic owner;
        _Atomic uint32_t kind_base;
        _Atomic uint32_t level;   /* 0: leaf */
        _Alignas(64) unsigned char body[NODE_BODY];
} Node;
_Static_assert(sizeof(Node) == NODE_SIZE, "a node's header is one line of the processor's cache");

struct MappingPool {
        Node *_Atomic *chunks;         /* CHUNKS_MAX, mapped, touched where used */
        _Atomic uint32_t now;          /* advances with evictions */
        unsigned block_shift;
        _Atomic uint64_t *kinds;       /* KINDS_MAX, mapped, only ever appended to: type | flags << 16 | dev << 32 */
        _Atomic uint32_t n_kinds;
        _Atomic uint64_t limit, used_bytes, n_mappings, n_evicted; /* used_bytes: nodes in use and caches */
        _Atomic uint64_t small_bytes;  /* of used_bytes: caches without a tree */
        _Atomic uint64_t free_bytes;   /* nodes not in use whose memory is not given back */
        MappingGiveUp *give_up;        /* NULL: nobody can */
        void *give_up_userdata;

        pthread_mutex_t lock;          /* of what follows */
        uint64_t *taken;               /* a bit for each node, mapped */
        uint32_t first_free;           /* no lower node is free */
        _Atomic uint32_t n_nodes;      /* nodes from here on have never been used, or were given back */
        uint32_t n_chunks;
        _Atomic uint32_t n_taken;
        uint32_t life;

        pthread_mutex_t evicting;      /* of what follows; and no cache of the pool is freed meanwhile */
        uint32_t hand;
        uint32_t evicted_since;        /* pool->now advanced */
        NodeIndex (*choose)(MappingPool *pool); /* the leaf to be evicted; 0: there is none. Another one in the bench */
};

/* Of a large tree: which node above the leaves readers have found last for each part of the file. A hint may be
 * wrong: the node itself says what it has. With it a lookup is two nodes, whatever the height. */
typedef struct Hints {
        struct Hints *older; /* readers may still be in it */
        uint64_t made_for;   /* so many mappings */
        unsigned shift;      /* blocks to parts */
        uint32_t n;
        _Atomic NodeIndex nodes[];
} Hints;

struct MappingCache {
        _Atomic uint64_t version;      /* as a node's, of root and records */
        _Atomic uint64_t root;         /* node | height << 32; 0: no tree, the records are here */
        _Atomic uint64_t records[INLINE_RECORDS][4]; /* start, len, addr, kind; len 0: none */
        MappingPool *pool;
        Hints *_Atomic hints;
        uint64_t last_start;           /* no mapping that was ever there starts after it */
        _Atomic uint64_t n_mappings;
        _Atomic bool used;             /* without a tree: since mapping_cache_is_idle() */
        pthread_mutex_t lock;          /* of whoever changes it */
};

static inline Node *pool_node(const MappingPool *pool, NodeIndex index) {
        Node *chunk = atomic_load_explicit(&pool->chunks[(index / NODES_PER_CHUNK) % CHUNKS_MAX], memory_order_relaxed);
        return chunk ? chunk + index % NODES_PER_CHUNK : NULL;
}

#define LOAD(p) atomic_load_explicit((p), memory_order_relaxed)
#define STORE(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)

static inline uint64_t root_make(NodeIndex node, unsigned height) {
        return (uint64_t) height << 32 | node;
}
static inline NodeIndex root_node(uint64_t root) {
        return (NodeIndex) root;
}
static inline unsigned root_height(uint64_t root) { /* levels, 1: the root is a leaf */
        return (unsigned) (root >> 32);
}

/* Each further use at the same time changes nothing, and touches no memory that other readers have. */
static inline void note_use(const MappingPool *pool, Node *leaf) {
        uint32_t now = LOAD(&pool->now);
        if (LOAD(&leaf->used) != now)
                STORE(&leaf->used, now);
}

/* cache-pool.c */
NodeIndex pool_take(MappingPool *pool); /* 0: no memory. Its version is odd: it is being changed */
void pool_give(MappingPool *pool, NodeIndex index);
int pool_kind(MappingPool *pool, uint16_t type, uint16_t flags, uint32_t dev, uint32_t *ret);
void pool_trim(MappingPool *pool); /* pool->evicting is held: packs the nodes into less memory and gives the rest back
                                    */

/* cache-hints.c */
void cache_adapt_hints(MappingCache *cache); /* cache->lock is held */
void cache_free_hints(MappingCache *cache);

/* cache-lookup.c */
enum lookup_how { LOOKUP_AT, LOOKUP_AT_OR_AFTER };
/* False: nothing there. Counts as no use. */
bool cache_find(MappingCache *cache, uint64_t block, enum lookup_how how, Record *ret);

/* cache-evict.c */
void pool_evict_to(MappingPool *pool, uint64_t bytes); /* pool->evicting is held */
void pool_keep_limit(MappingPool *pool);
void pool_give_up_small(MappingPool *pool, uint64_t bytes); /* no lock is held */
NodeIndex pool_choose(MappingPool *pool);
/* The node that the hand is at, if it is a leaf in use, and moves the hand on. Returns 0 otherwise. */
NodeIndex pool_next_leaf(MappingPool *pool, Node **ret);

/* cache-change.c; cache->lock is held. leaf_drop: if the node is (still) a leaf of this cache it is taken out;
 * returns how many mappings it had. */
uint64_t cache_drop_leaf(MappingCache *cache, NodeIndex index);
bool cache_move_node(MappingCache *cache, NodeIndex index);
void cache_clear(MappingCache *cache);
