/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The readers' side: from the root down, a version before and after each node. See cache-private.h. */

#include "map/cache-pack.h"

#define TRIES 64 /* collisions with writers, after which a reader waits for the writer as other writers do */

enum answer { ANSWER_NONE, ANSWER_FOUND, ANSWER_AGAIN };

static inline bool unchanged(_Atomic uint64_t *version, uint64_t before) {
        atomic_thread_fence(memory_order_acquire);
        return LOAD(version) == before;
}

static enum answer find_inline(MappingCache *cache, uint64_t block, enum lookup_how how, Record *ret) {
        uint64_t version = atomic_load_explicit(&cache->version, memory_order_acquire);
        enum answer answer = ANSWER_NONE;

        if ((version & 1) != 0 || LOAD(&cache->root) != 0)
                return ANSWER_AGAIN;
        for (unsigned i = 0; i < INLINE_RECORDS && answer == ANSWER_NONE; i++) {
                Record r = { LOAD(&cache->records[i][0]), LOAD(&cache->records[i][1]), LOAD(&cache->records[i][2]),
                             (uint32_t) LOAD(&cache->records[i][3]) };
                if (r.len > 0 && (how == LOOKUP_AT ? block - r.start < r.len : block < r.start + r.len)) {
                        *ret = r;
                        answer = ANSWER_FOUND;
                }
        }
        return unchanged(&cache->version, version) ? answer : ANSWER_AGAIN;
}

static inline void prefetch_node(const Node *node) { /* the header, and where starts or keys are */
        for (unsigned i = 0; i < 5; i++)
                __builtin_prefetch((const unsigned char *) node + i * 64);
}

/* From a node above the leaves to one of its children. */
static inline enum answer go_down(MappingPool *pool, uint64_t block, Node **node, uint64_t *version,
                                  uint64_t *ret_limit) {
        uint64_t shape = LOAD(&(*node)->shape);
        if (shape_count(shape) == 0)
                return ANSWER_AGAIN;
        unsigned at = inner_search(*node, shape, block);
        Node *child = pool_node(pool, inner_child(*node, shape, at));
        if (!child)
                return ANSWER_AGAIN;
        prefetch_node(child);
        if (ret_limit && at + 1 < shape_count(shape))
                *ret_limit = LOAD(&(*node)->base) + column_load(*node, shape, COLUMN_KEY, at + 1);
        if (!unchanged(&(*node)->version, *version))
                return ANSWER_AGAIN;
        uint64_t child_version = atomic_load_explicit(&child->version, memory_order_acquire);
        if (!unchanged(&(*node)->version, *version) || (child_version & 1) != 0 || child_version == 0)
                return ANSWER_AGAIN;
        *node = child;
        *version = child_version;
        return ANSWER_FOUND;
}

/* limit: where the records of the next leaf begin at the earliest, UINT64_MAX: there is no next. above: the node
 * above the leaf, 0: none. */
static enum answer find_leaf(MappingCache *cache, uint64_t block, Node **ret_leaf, uint64_t *ret_version,
                             uint64_t *ret_limit, NodeIndex *ret_above) {
        uint64_t root = atomic_load_explicit(&cache->root, memory_order_acquire);
        if (root == 0)
                return ANSWER_NONE;
        Node *node = pool_node(cache->pool, root_node(root));
        uint64_t version = atomic_load_explicit(&node->version, memory_order_acquire);
        if ((version & 1) != 0 || version == 0 || LOAD(&cache->root) != root)
                return ANSWER_AGAIN;

        *ret_limit = UINT64_MAX;
        *ret_above = 0;
        for (unsigned level = root_height(root) - 1; level > 0; level--) {
                if (level == 2) { /* what comes next is above the leaf */
                        uint64_t shape = LOAD(&node->shape);
                        *ret_above = shape_count(shape) == 0
                                        ? 0
                                        : inner_child(node, shape, inner_search(node, shape, block));
                }
                if (go_down(cache->pool, block, &node, &version, ret_limit) == ANSWER_AGAIN)
                        return ANSWER_AGAIN;
        }
        *ret_leaf = node;
        *ret_version = version;
        return ANSWER_FOUND;
}

/* NONE: there is no hint, or not a good one. */
static inline enum answer find_leaf_by_hint(MappingCache *cache, const Hints *hints, uint64_t block, Node **ret_leaf,
                                            uint64_t *ret_version) {
        uint64_t part = block >> hints->shift;
        if (part >= hints->n)
                return ANSWER_NONE;
        NodeIndex index = LOAD(&hints->nodes[part]);
        if (index == 0)
                return ANSWER_NONE;
        Node *node = pool_node(cache->pool, index);
        uint64_t version = atomic_load_explicit(&node->version, memory_order_acquire);
        if ((version & 1) != 0 || LOAD(&node->owner) != cache || LOAD(&node->level) != 1 || block < LOAD(&node->low) ||
            block >= LOAD(&node->high))
                return ANSWER_NONE;
        if (go_down(cache->pool, block, &node, &version, NULL) == ANSWER_AGAIN)
                return ANSWER_NONE;
        *ret_leaf = node;
        *ret_version = version;
        return ANSWER_FOUND;
}

static enum answer find_leaf_from_root(MappingCache *cache, Hints *hints, uint64_t block, Node **ret_leaf,
                                       uint64_t *ret_version) {
        uint64_t limit;
        NodeIndex above;
        enum answer answer = find_leaf(cache, block, ret_leaf, ret_version, &limit, &above);
        if (answer == ANSWER_FOUND && hints && above != 0 && block >> hints->shift < hints->n)
                STORE(&hints->nodes[block >> hints->shift], above);
        return answer;
}

static inline enum answer find_at(MappingCache *cache, uint64_t block, Record *ret, Node **ret_leaf) {
        Hints *hints = atomic_load_explicit(&cache->hints, memory_order_acquire);
        Node *leaf;
        uint64_t version;

        *ret_leaf = NULL;
        if (!hints || find_leaf_by_hint(cache, hints, block, &leaf, &version) != ANSWER_FOUND) {
                enum answer answer = find_leaf_from_root(cache, hints, block, &leaf, &version);
                if (answer == ANSWER_NONE)
                        return find_inline(cache, block, LOOKUP_AT, ret);
                if (answer == ANSWER_AGAIN)
                        return answer;
        }
        uint64_t shape = LOAD(&leaf->shape), base = LOAD(&leaf->base);
        enum answer answer = ANSWER_NONE;
        if (block >= base && shape_count(shape) > 0) {
                leaf_record(leaf, shape, column_search(leaf, shape, block - base), ret);
                answer = block - ret->start < ret->len ? ANSWER_FOUND : ANSWER_NONE;
        }
        *ret_leaf = leaf;
        return unchanged(&leaf->version, version) ? answer : ANSWER_AGAIN;
}

static enum answer find_next(MappingCache *cache, uint64_t block, Record *ret) {
        Node *leaf;
        uint64_t version, limit;
        NodeIndex above;

        for (uint64_t pos = block;; pos = limit) {
                enum answer answer = find_leaf(cache, pos, &leaf, &version, &limit, &above);
                if (answer == ANSWER_NONE)
                        return find_inline(cache, block, LOOKUP_AT_OR_AFTER, ret);
                if (answer == ANSWER_AGAIN)
                        return answer;
                uint64_t shape = LOAD(&leaf->shape), base = LOAD(&leaf->base);
                unsigned n = shape_count(shape),
                         i = n == 0 || block < base ? 0 : column_search(leaf, shape, block - base);
                answer = ANSWER_NONE;
                for (; i < n && answer == ANSWER_NONE; i++) {
                        leaf_record(leaf, shape, i, ret);
                        if (ret->start >= block || block - ret->start < ret->len)
                                answer = ANSWER_FOUND;
                }
                if (!unchanged(&leaf->version, version))
                        return ANSWER_AGAIN;
                if (answer == ANSWER_FOUND || limit == UINT64_MAX)
                        return answer;
        }
}

bool cache_find(MappingCache *cache, uint64_t block, enum lookup_how how, Record *ret) {
        Node *leaf;
        for (;;) {
                enum answer answer =
                                how == LOOKUP_AT ? find_at(cache, block, ret, &leaf) : find_next(cache, block, ret);
                if (answer != ANSWER_AGAIN)
                        return answer == ANSWER_FOUND;
        }
}

static inline void pause_a_moment(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
}

static inline void to_mapping(const MappingPool *pool, const Record *r, struct fused_mapping *ret) {
        uint64_t kind = LOAD(&pool->kinds[r->kind]);
        unsigned shift = pool->block_shift;
        *ret = (struct fused_mapping){ .offset = r->start << shift, .length = r->len << shift,
                .addr = r->addr == 0 ? FUSED_MAPPING_ADDR_NONE : (r->addr - 1) << shift,
                .type = (uint16_t) kind, .flags = (uint16_t) (kind >> 16), .dev = (uint32_t) (kind >> 32) };
}

bool mapping_cache_lookup(MappingCache *cache, uint64_t pos, struct fused_mapping *ret) {
        uint64_t block = pos >> cache->pool->block_shift;
        enum answer answer;
        Node *leaf;
        Record r;

        for (unsigned i = 0; (answer = find_at(cache, block, &r, &leaf)) == ANSWER_AGAIN; i++) {
                pause_a_moment();
                if (i == TRIES) {
                        pthread_mutex_lock(&cache->lock);
                        answer = cache_find(cache, block, LOOKUP_AT, &r) ? ANSWER_FOUND : ANSWER_NONE;
                        pthread_mutex_unlock(&cache->lock);
                        leaf = NULL;
                        break;
                }
        }
        if (answer != ANSWER_FOUND)
                return false;
        if (leaf)
                note_use(cache->pool, leaf);
        else if (!LOAD(&cache->used))
                STORE(&cache->used, true);
        to_mapping(cache->pool, &r, ret);
        return true;
}

bool mapping_cache_next(MappingCache *cache, uint64_t pos, struct fused_mapping *ret) {
        Record r;
        pthread_mutex_lock(&cache->lock);
        bool found = cache_find(cache, pos >> cache->pool->block_shift, LOOKUP_AT_OR_AFTER, &r);
        pthread_mutex_unlock(&cache->lock);
        if (found)
                to_mapping(cache->pool, &r, ret);
        return found;
}
