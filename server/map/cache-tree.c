/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a change does to nodes above the leaves: see cache-change.h. */

#include <string.h>

#include "map/cache-change.h"

void change_begin(Change *c, MappingCache *cache) {
        c->cache = cache;
        c->n_touched = c->n_dropped = c->n_spare = c->n_spare_used = 0;
        c->cache_touched = false;
        c->delta = 0;
}

static uint64_t version_next(uint64_t version) { /* the life stays */
        return (version & ~(uint64_t) UINT32_MAX) | (uint32_t) (version + 1);
}

/* A root with one child is no use. */
static void lower_root(Change *c) {
        for (uint64_t root; root = LOAD(&c->cache->root), root_height(root) > 1;) {
                Node *node = pool_node(c->cache->pool, root_node(root));
                uint64_t shape = LOAD(&node->shape);
                if (shape_count(shape) != 1)
                        break;
                change_set_root(c, root_make(inner_child(node, shape, 0), root_height(root) - 1));
                change_touch(c, node);
                change_drop(c, root_node(root));
        }
}

void change_end(Change *c) {
        MappingPool *pool = c->cache->pool;

        lower_root(c);
        for (unsigned i = 0; i < c->n_touched; i++)
                atomic_store_explicit(&c->touched[i]->version, version_next(LOAD(&c->touched[i]->version)),
                                      memory_order_release);
        if (c->cache_touched)
                atomic_store_explicit(&c->cache->version, LOAD(&c->cache->version) + 1, memory_order_release);
        for (unsigned i = 0; i < c->n_dropped; i++)
                pool_give(pool, c->dropped[i]);
        for (unsigned i = c->n_spare_used; i < c->n_spare; i++)
                pool_give(pool, c->spare[i]);
        if (c->delta != 0) {
                atomic_fetch_add_explicit(&c->cache->n_mappings, (uint64_t) c->delta, memory_order_relaxed);
                atomic_fetch_add_explicit(&pool->n_mappings, (uint64_t) c->delta, memory_order_relaxed);
        }
}

void change_descend(Change *c, uint64_t block) {
        uint64_t root = LOAD(&c->cache->root), low = 0, high = UINT64_MAX;
        NodeIndex index = root_node(root);

        c->height = root_height(root);
        c->high[0] = UINT64_MAX;
        for (unsigned level = c->height; level-- > 0;) {
                c->nodes[level] = index;
                c->low[level] = low;
                c->high[level] = high;
                if (level == 0)
                        break;
                const Node *node = pool_node(c->cache->pool, index);
                uint64_t shape = LOAD(&node->shape), base = LOAD(&node->base);
                unsigned at = inner_search(node, shape, block);
                if (at > 0)
                        low = base + column_load(node, shape, COLUMN_KEY, at);
                if (at + 1 < shape_count(shape)) {
                        high = base + column_load(node, shape, COLUMN_KEY, at + 1);
                        c->high_level = level;
                }
                c->at[level] = at;
                index = inner_child(node, shape, at);
        }
}

int change_reserve(Change *c, unsigned n) {
        while (c->n_spare - c->n_spare_used < n) {
                NodeIndex index = pool_take(c->cache->pool);
                if (index == 0)
                        return -ENOMEM;
                c->spare[c->n_spare++] = index;
        }
        return 0;
}

NodeIndex change_new_node(Change *c, unsigned level) {
        assert(c->n_spare_used < c->n_spare);
        NodeIndex index = c->spare[c->n_spare_used++]; /* the lowest first */
        Node *node = pool_node(c->cache->pool, index);
        atomic_store_explicit(&node->owner, c->cache, memory_order_release); /* eviction comes to the cache by this */
        STORE(&node->level, level);
        change_touch(c, node);
        return index;
}

void change_touch(Change *c, Node *node) {
        for (unsigned i = 0; i < c->n_touched; i++)
                if (c->touched[i] == node)
                        return;
        assert(c->n_touched < TOUCHED_MAX);
        c->touched[c->n_touched++] = node;
        uint64_t version = LOAD(&node->version);
        if ((version & 1) == 0) { /* a new one is odd already */
                STORE(&node->version, version_next(version));
                atomic_thread_fence(memory_order_release);
        }
}

void change_drop(Change *c, NodeIndex index) { /* stays odd until it is given away */
        Node *node = pool_node(c->cache->pool, index);
        change_touch(c, node);
        c->dropped[c->n_dropped++] = index;
}

static void touch_cache(Change *c) {
        if (!c->cache_touched) {
                STORE(&c->cache->version, LOAD(&c->cache->version) + 1);
                atomic_thread_fence(memory_order_release);
                c->cache_touched = true;
        }
}

void change_set_root(Change *c, uint64_t root) {
        const bool was_small = LOAD(&c->cache->root) == 0;

        if (was_small != (root == 0))
                atomic_fetch_add(&c->cache->pool->small_bytes, was_small ? -sizeof(MappingCache) : sizeof(MappingCache));
        touch_cache(c);
        atomic_store_explicit(&c->cache->root, root, memory_order_release);
        c->height = root_height(root);
}

void change_set_inline(Change *c, const Record *records, unsigned n) {
        touch_cache(c);
        for (unsigned i = 0; i < INLINE_RECORDS; i++) {
                Record r = i < n ? records[i] : (Record){ 0 };
                STORE(&c->cache->records[i][0], r.start);
                STORE(&c->cache->records[i][1], r.len);
                STORE(&c->cache->records[i][2], r.addr);
                STORE(&c->cache->records[i][3], (uint64_t) r.kind);
        }
}

static void pack(Node *node, const Child *children, unsigned n, uint64_t low, uint64_t high) {
        inner_pack(node, children, n);
        STORE(&node->low, low);
        STORE(&node->high, high);
}

static void above_root(Change *c, unsigned level, const Child *with, unsigned k) {
        if (k == 0) {
                change_set_inline(c, NULL, 0);
                change_set_root(c, 0);
        } else if (k == 1)
                change_set_root(c, root_make(with[0].node, level));
        else {
                NodeIndex root = change_new_node(c, level);
                pack(pool_node(c->cache->pool, root), with, k, 0, UINT64_MAX);
                change_set_root(c, root_make(root, level + 1));
        }
}

/* A node with few children goes together with the one beside it, if that leaves room for more. */
static bool join_inner(Change *c, unsigned level, Child *children, unsigned n) {
        if (level + 1 >= c->height || n > CHILDREN_MAX / 8)
                return false;
        const Node *parent = change_node(c, level + 1);
        uint64_t shape = LOAD(&parent->shape);
        unsigned at = c->at[level + 1], other_at = at > 0 ? at - 1 : at + 1;
        if (other_at >= shape_count(shape))
                return false;
        Child other[CHILDREN_MAX], with = { 0 };
        NodeIndex other_index = inner_child(parent, shape, other_at);
        unsigned n_other = inner_unpack(pool_node(c->cache->pool, other_index), other);
        if (n + n_other > CHILDREN_MAX / 2)
                return false;

        Child both[CHILDREN_MAX];
        bool left = other_at < at; /* the other one is the left one */
        memcpy(both, left ? other : children, (left ? n_other : n) * sizeof(Child));
        memcpy(both + (left ? n_other : n), left ? children : other, (left ? n : n_other) * sizeof(Child));
        both[left ? n_other : n].key =
                        left ? c->low[level] : LOAD(&parent->base) + column_load(parent, shape, COLUMN_KEY, other_at);
        with.key = left && other_at > 0 ? LOAD(&parent->base) + column_load(parent, shape, COLUMN_KEY, other_at)
                        : left          ? c->low[level + 1]
                                        : c->low[level];
        with.node = c->nodes[level];
        both[0].key = with.key;
        if (inner_capacity(both, n + n_other) < n + n_other)
                return false;
        change_touch(c, change_node(c, level));
        bool last = other_at + 1 == shape_count(shape);
        uint64_t high = left   ? c->high[level]
                        : last ? c->high[level + 1]
                               : LOAD(&parent->base) + column_load(parent, shape, COLUMN_KEY, other_at + 1);
        pack(change_node(c, level), both, n + n_other, with.key, high);
        change_drop(c, other_index);
        change_children(c, level + 1, MIN_OF(at, other_at), 2, &with, 1);
        return true;
}

void change_children(Change *c, unsigned level, unsigned at, unsigned m, const Child *with, unsigned k) {
        if (level == c->height) {
                above_root(c, level, with, k);
                return;
        }
        Child children[CHILDREN_MAX + NEW_LEAVES_MAX];
        Node *node = change_node(c, level);
        unsigned before = inner_unpack(node, children), n = before - m + k;

        memmove(children + at + k, children + at + m, (before - at - m) * sizeof(Child));
        for (unsigned i = 0; i < k; i++)
                children[at + i] = with[i];
        if (n == 0) {
                change_drop(c, c->nodes[level]);
                change_children(c, level + 1, level + 1 == c->height ? 0 : c->at[level + 1], 1, NULL, 0);
                return;
        }
        children[0].key = c->low[level];
        if (k < m && join_inner(c, level, children, n))
                return;
        change_touch(c, node);
        if (n <= inner_capacity(children, n)) {
                pack(node, children, n, c->low[level], c->high[level]);
                return;
        }
        /* In two: halves, but what grows at its end stays full. */
        unsigned left = at + m == before && k < n && inner_capacity(children, n - k) >= n - k ? n - k : n / 2;
        NodeIndex right = change_new_node(c, level);
        pack(node, children, left, c->low[level], children[left].key);
        pack(pool_node(c->cache->pool, right), children + left, n - left, children[left].key, c->high[level]);
        change_children(c, level + 1, level + 1 == c->height ? 0 : c->at[level + 1], 1,
                        (const Child[]){ { c->low[level], c->nodes[level] }, { children[left].key, right } }, 2);
}
