/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leaves: how records are spread over them, and the changes of ranges. See cache-change.h. */

#include <string.h>

#include "map/cache-change.h"

#define JOINED_MAX (2 * RECORDS_MAX + 2)

typedef struct Part {
        unsigned from, n;
} Part;

unsigned change_records(const Change *c, Record *ret) {
        unsigned n = 0;
        if (c->height > 0)
                return leaf_unpack(change_node(c, 0), ret);
        for (unsigned i = 0; i < INLINE_RECORDS; i++) {
                const _Atomic uint64_t *r = c->cache->records[i];
                if (LOAD(&r[1]) > 0)
                        ret[n++] = (Record){ LOAD(&r[0]), LOAD(&r[1]), LOAD(&r[2]), (uint32_t) LOAD(&r[3]) };
        }
        return n;
}

/* Halves until each part fits into a leaf. */
static unsigned divide(const Record *records, Part part, Part *ret) {
        if (leaf_capacity(records + part.from, part.n) >= part.n) {
                *ret = part;
                return 1;
        }
        unsigned n = divide(records, (Part){ part.from, part.n / 2 }, ret);
        return n + divide(records, (Part){ part.from + part.n / 2, part.n - part.n / 2 }, ret + n);
}

/* inserted: the index of a new record. If it is at either end, more will follow there, so the other leaf stays as full as it is. */
static unsigned divide_all(const Record *records, unsigned n, unsigned ways, int inserted, Part *ret) {
        unsigned parts = 0;
        if (ways == 2 && n > 1 && (inserted == (int) n - 1 || inserted == 0)) {
                unsigned first = inserted == 0 ? 1 : n - 1;
                parts = divide(records, (Part){ 0, first }, ret);
                return parts + divide(records, (Part){ first, n - first }, ret + parts);
        }
        for (unsigned i = 0; i < ways; i++) {
                unsigned from = n * i / ways, to = n * (i + 1) / ways;
                if (to > from)
                        parts += divide(records, (Part){ from, to - from }, ret + parts);
        }
        return parts;
}

/* Both leaves are nearly full if they are less than this share free when they share the records. */
static bool two_suffice(const Record *records, unsigned n) {
        unsigned left = n / 2, right = n - n / 2;
        return leaf_capacity(records, left) * 15 / 16 >= left &&
                        leaf_capacity(records + left, right) * 15 / 16 >= right;
}

/* Writes the parts into the m nodes given and new ones, and tells the parent. key: of the first. */
static int spread(Change *c, const Record *records, const Part *parts, unsigned k, const NodeIndex *nodes, unsigned m,
                  unsigned at, uint64_t key) {
        MappingPool *pool = c->cache->pool;
        Child with[NEW_LEAVES_MAX];
        uint32_t used = m > 0 ? LOAD(&pool_node(pool, nodes[0])->used) : 0;

        assert(k <= NEW_LEAVES_MAX);
        int r = change_reserve(c, (k > m ? k - m : 0) + c->height + 1);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < k; i++) {
                NodeIndex index = i < m ? nodes[i] : change_new_node(c, 0);
                Node *node = pool_node(pool, index);
                change_touch(c, node);
                leaf_pack(node, records + parts[i].from, parts[i].n);
                if (i >= m && m > 0)
                        STORE(&node->used, used);
                with[i] = (Child){ i == 0 ? key : records[parts[i].from].start, index };
        }
        for (unsigned i = k; i < m; i++)
                change_drop(c, nodes[i]);
        change_children(c, 1, at, m, with, k);
        return 0;
}

/* A leaf beside this one, below the same parent. */
static bool neighbour(const Change *c, unsigned *ret_at, NodeIndex *ret) {
        if (c->height < 2)
                return false;
        const Node *parent = change_node(c, 1);
        uint64_t shape = LOAD(&parent->shape);
        unsigned at = c->at[1];
        *ret_at = at + 1 < shape_count(shape) ? at + 1 : at - 1;
        if (*ret_at >= shape_count(shape)) /* at was 0, and it is alone */
                return false;
        *ret = inner_child(parent, shape, *ret_at);
        return true;
}

typedef struct Joined {
        Record records[JOINED_MAX];
        NodeIndex nodes[2];
        unsigned n, at;
        uint64_t key;
} Joined;

static bool join(const Change *c, const Record *records, unsigned n, Joined *ret) {
        NodeIndex other;
        unsigned other_at, n_other;
        if (!neighbour(c, &other_at, &other))
                return false;
        const Node *node = pool_node(c->cache->pool, other), *parent = change_node(c, 1);
        bool right = other_at > c->at[1];

        n_other = leaf_unpack(node, ret->records + (right ? n : 0));
        memcpy(ret->records + (right ? 0 : n_other), records, n * sizeof(Record));
        ret->n = n + n_other;
        ret->nodes[right ? 0 : 1] = c->nodes[0];
        ret->nodes[right ? 1 : 0] = other;
        ret->at = MIN_OF(other_at, c->at[1]);
        ret->key = right ? c->low[0]
                        : ret->at == 0
                        ? c->low[1]
                        : LOAD(&parent->base) + column_load(parent, LOAD(&parent->shape), COLUMN_KEY, ret->at);
        return true;
}

static int store_parts(Change *c, const Record *records, unsigned n, int inserted) { /* they do not fit into the leaf */
        Part parts[NEW_LEAVES_MAX];
        Joined joined;

        if (c->height == 0) {
                c->height = 1; /* the tree begins */
                return spread(c, records, parts, divide(records, (Part){ 0, n }, parts), NULL, 0, 0, 0);
        }
        if (inserted != 0 && inserted != (int) n - 1 && join(c, records, n, &joined)) {
                unsigned k = divide_all(joined.records, joined.n, two_suffice(joined.records, joined.n) ? 2 : 3, -1,
                                        parts);
                return spread(c, joined.records, parts, k, joined.nodes, 2, joined.at, joined.key);
        }
        unsigned k = divide_all(records, n, 2, inserted, parts);
        return spread(c, records, parts, k, c->nodes, 1, c->height > 1 ? c->at[1] : 0, c->low[0]);
}

static int store(Change *c, const Record *records, unsigned n, unsigned n_before, int inserted) {
        if (c->height <= 1 && n <= INLINE_RECORDS) {
                change_set_inline(c, records, n);
                if (c->height == 1) {
                        change_drop(c, c->nodes[0]);
                        change_set_root(c, 0);
                }
                return 0;
        }
        unsigned capacity = c->height == 0 ? 0 : leaf_capacity(records, n);
        if (n == 0) {
                int r = change_reserve(c, c->height + 1);
                if (r < 0)
                        return r;
                change_drop(c, c->nodes[0]);
                change_children(c, 1, c->at[1], 1, NULL, 0);
                return 0;
        }
        if (n > capacity)
                return store_parts(c, records, n, inserted);
        Joined joined;
        if (n < n_before && n < capacity / 4 && join(c, records, n, &joined) &&
            leaf_capacity(joined.records, joined.n) * 3 / 4 >= joined.n)
                return spread(c, joined.records, &(const Part){ 0, joined.n }, 1, joined.nodes, 2, joined.at,
                              joined.key);
        change_touch(c, change_node(c, 0));
        leaf_pack(change_node(c, 0), records, n);
        return 0;
}

int change_store(Change *c, const Record *records, unsigned n, unsigned n_before, int inserted) {
        bool tree = c->height > 0;
        int r = store(c, records, n, n_before, inserted);
        c->delta += (r < 0 ? 0 : (int64_t) n) - (int64_t) n_before;
        if (r < 0 && tree) { /* forgetting is always safe, and readers cope with an empty leaf */
                change_touch(c, change_node(c, 0));
                leaf_pack(change_node(c, 0), NULL, 0);
        } else if (r < 0) /* not even the first leaf */
                change_set_inline(c, NULL, 0);
        return r;
}

/* out: what is left of the records outside [start, end), and insert (NULL: nothing) there. Returns how many; that is
 * at most two more. */
static unsigned cut(const Record *in, unsigned n, uint64_t start, uint64_t end, const Record *insert, Record *out,
                    int *ret_inserted) {
        unsigned k = 0, i = 0;

        *ret_inserted = -1;
        for (; i < n && in[i].start + in[i].len <= start; i++)
                out[k++] = in[i];
        if (i < n && in[i].start < start) {
                out[k] = in[i];
                out[k++].len = start - in[i].start;
        }
        if (insert) {
                *ret_inserted = (int) k;
                out[k++] = *insert;
        }
        for (; i < n; i++) {
                uint64_t cut_off = in[i].start >= end ? 0 : MIN_OF(end - in[i].start, in[i].len);
                if (cut_off == in[i].len)
                        continue;
                out[k] = in[i];
                out[k].start += cut_off;
                out[k].len -= cut_off;
                if (in[i].addr > 0)
                        out[k].addr += cut_off;
                k++;
        }
        return k;
}

static bool overlaps(const Record *records, unsigned n, uint64_t start, uint64_t end) {
        for (unsigned i = 0; i < n; i++)
                if (records[i].start < end && records[i].start + records[i].len > start)
                        return true;
        return false;
}

/* The common case: between two records of the leaf, or after the last. */
static bool insert_in_place(Change *c, const Record *r) {
        Node *leaf = change_node(c, 0);
        uint64_t shape = LOAD(&leaf->shape), base = LOAD(&leaf->base);
        unsigned n = shape_count(shape);
        Record other;

        if (n == 0 || r->start < base)
                return false;
        unsigned at = column_search(leaf, shape, r->start - base) + 1;
        leaf_record(leaf, shape, at - 1, &other);
        if (other.start + other.len > r->start)
                return false;
        if (at < n) {
                leaf_record(leaf, shape, at, &other);
                if (other.start < r->start + r->len)
                        return false;
        }
        if (!leaf_has_room(leaf, at, r))
                return false;
        note_use(c->cache->pool, leaf);
        change_touch(c, leaf);
        leaf_insert(leaf, at, r);
        c->delta++;
        return true;
}

static int change_leaf(Change *c, uint64_t start, uint64_t end, const Record *insert) {
        Record in[RECORDS_MAX], out[RECORDS_MAX + 2];
        int inserted;

        if (insert && c->height > 0 && insert_in_place(c, insert))
                return 0;
        unsigned n_in = change_records(c, in), n_out = cut(in, n_in, start, end, insert, out, &inserted);
        if (!insert && n_out > 0 && !overlaps(in, n_in, start, end))
                return 0;
        if (insert && c->height > 0)
                note_use(c->cache->pool, change_node(c, 0));
        return change_store(c, out, n_out, n_in, inserted);
}

/* Extends the range of the leaf on the way down to end. No record to the right of it begins before that. */
static int raise_high(Change *c, uint64_t end) {
        unsigned at = c->at[c->high_level] + 1;
        const Node *node = change_node(c, c->high_level);
        int r = change_reserve(c, c->height + 1);
        if (r < 0)
                return r;
        NodeIndex child = inner_child(node, LOAD(&node->shape), at);
        change_children(c, c->high_level, at, 1, &(const Child){ end, child }, 1);
        for (unsigned level = c->high_level - 1; level > 0; level--) { /* the nodes to the right begin later now */
                Node *right = pool_node(c->cache->pool, child);
                change_touch(c, right);
                STORE(&right->low, end);
                child = inner_child(right, LOAD(&right->shape), 0);
        }
        return 0;
}

static int change_range(MappingCache *cache, uint64_t start, uint64_t end, const Record *insert) {
        Change c;
        int r = 0;

        change_begin(&c, cache);
        change_descend(&c, start);
        if (c.high[0] >= end) {
                r = change_leaf(&c, start, end, insert);
                change_end(&c);
                return r;
        }
        for (uint64_t pos = start, high = start; high < end;
             pos = high) { /* leaf by leaf: readers are not held up for long */
                change_begin(&c, cache);
                change_descend(&c, pos);
                high = c.high[0];
                r = MIN_OF(r, change_leaf(&c, start, end, NULL)); /* without memory more is forgotten, which does no harm */
                change_end(&c);
        }
        if (!insert || r < 0)
                return r;
        change_begin(&c, cache);
        change_descend(&c, start);
        if (c.high[0] < end) {
                r = raise_high(&c, end);
                change_end(&c);
                change_begin(&c, cache);
                change_descend(&c, start);
        }
        if (r >= 0)
                r = change_leaf(&c, start, end, insert);
        change_end(&c);
        return r;
}

static bool continues(const Record *left, const Record *right) {
        return left->kind == right->kind && left->start + left->len == right->start &&
                        (left->addr == 0) == (right->addr == 0) &&
                        (left->addr == 0 || left->addr + left->len == right->addr);
}

static int upsert(MappingCache *cache, Record *r) {
        Record other;
        uint64_t most = (UINT64_C(1) << 63) >> cache->pool->block_shift; /* the longest that a mapping may become */

        if (r->start > 0 && cache_find(cache, r->start - 1, LOOKUP_AT, &other)) {
                uint64_t before = r->start - other.start;
                if (other.len >= before + r->len && other.kind == r->kind &&
                    r->addr == (other.addr == 0 ? 0 : other.addr + before))
                        return 0; /* known */
                other.len = before;
                if (continues(&other, r) && before + r->len <= most)
                        *r = (Record){ other.start, before + r->len, other.addr, r->kind };
        }
        if (cache_find(cache, r->start + r->len, LOOKUP_AT, &other)) {
                uint64_t after = other.start + other.len - (r->start + r->len), cut_off = other.len - after;
                other.start += cut_off;
                other.len = after;
                other.addr += other.addr > 0 ? cut_off : 0;
                if (continues(r, &other) && r->len + after <= most)
                        r->len += after;
        }
        cache->last_start = MAX_OF(cache->last_start, r->start);
        int result = change_range(cache, r->start, r->start + r->len, r);
        cache_adapt_hints(cache);
        return result;
}

static bool kept(uint16_t type) {
        return type <= FUSED_MAPPING_INLINE || type == FUSED_MAPPING_PURE_OVERWRITE;
}

int mapping_cache_upsert(MappingCache *cache, const struct fused_mapping *mapping) {
        MappingPool *pool = cache->pool;
        bool placed = mapping->addr != FUSED_MAPPING_ADDR_NONE;
        uint64_t mask = (UINT64_C(1) << pool->block_shift) - 1, end;
        Record record;

        if (!kept(mapping->type) || mapping->length == 0 ||
            ((mapping->offset | mapping->length | (placed ? mapping->addr : 0)) & mask) != 0 ||
            __builtin_add_overflow(mapping->offset, mapping->length, &end) ||
            (placed && __builtin_add_overflow(mapping->addr, mapping->length, &end)))
                return -EINVAL;
        record = (Record){ .start = mapping->offset >> pool->block_shift, .len = mapping->length >> pool->block_shift,
                .addr = placed ? (mapping->addr >> pool->block_shift) + 1 : 0 };
        int r = pool_kind(pool, mapping->type, mapping->flags, mapping->dev, &record.kind);
        if (r < 0)
                return r;
        pthread_mutex_lock(&cache->lock);
        r = upsert(cache, &record);
        pthread_mutex_unlock(&cache->lock);
        if (LOAD(&pool->used_bytes) > LOAD(&pool->limit))
                pool_keep_limit(pool);
        return r;
}

int mapping_cache_invalidate(MappingCache *cache, uint64_t offset, uint64_t length) {
        unsigned shift = cache->pool->block_shift;
        uint64_t mask = (UINT64_C(1) << shift) - 1, end;

        if (__builtin_add_overflow(offset, length, &end))
                end = UINT64_MAX;
        /* Blocks that are touched in part are forgotten as well. */
        offset >>= shift;
        end = (end >> shift) + ((end & mask) != 0);
        if (offset >= end)
                return 0;
        pthread_mutex_lock(&cache->lock);
        int r = 0;
        if (offset == 0 && end > UINT64_MAX >> shift)
                cache_clear(cache);
        else
                r = change_range(cache, offset, end, NULL);
        pthread_mutex_unlock(&cache->lock);
        return r == -ENOMEM ? 0 : r; /* more was forgotten */
}
