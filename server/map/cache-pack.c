/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nodes' bodies: see cache-pack.h. Whoever writes has made the node's version odd before. */

#include "map/cache-pack.h"

static const unsigned width_of[] = { 0, 1, 2, 4, 8 };

static unsigned code_for(uint64_t max) { /* the narrowest that holds it; 0 if it is 0 */
        return max == 0 ? 0 : max <= UINT8_MAX ? 1 : max <= UINT16_MAX ? 2 : max <= UINT32_MAX ? 3 : 4;
}

static void column_store(Node *node, uint64_t shape, unsigned column, unsigned i, uint64_t value) {
        unsigned char *p = node->body + shape_offset(shape, column);
        switch (shape_code(shape, column)) {
        case 1: __atomic_store_n(p + i, (uint8_t) value, __ATOMIC_RELAXED); break;
        case 2: __atomic_store_n((uint16_t *) (void *) p + i, (uint16_t) value, __ATOMIC_RELAXED); break;
        case 3: __atomic_store_n((uint32_t *) (void *) p + i, (uint32_t) value, __ATOMIC_RELAXED); break;
        case 4: __atomic_store_n((uint64_t *) (void *) p + i, value, __ATOMIC_RELAXED); break;
        default: break;
        }
}

/* Columns in the order of their width, so that all are aligned; the first one, which is searched, before all others. */
static unsigned place(const unsigned codes[static N_COLUMNS], unsigned capacity, uint64_t *ret_shape) {
        unsigned offset = ALIGN_TO(capacity * width_of[codes[0]], 8);
        uint64_t shape = (uint64_t) codes[0] << 8;

        for (unsigned code = 4; code > 0; code--)
                for (unsigned column = 1; column < N_COLUMNS; column++)
                        if (codes[column] == code) {
                                shape |= (uint64_t) code << (8 + 11 * column) |
                                                (uint64_t) (offset / 4) << (11 + 11 * column);
                                offset = ALIGN_TO(offset + capacity * width_of[code], 4);
                                if (code == 4) /* the next may be as wide */
                                        offset = ALIGN_TO(offset, 8);
                        }
        *ret_shape = shape;
        return offset;
}

static unsigned capacity_of(const unsigned codes[static N_COLUMNS], unsigned max, uint64_t *ret_shape) {
        unsigned bytes = 0, capacity;
        for (unsigned column = 0; column < N_COLUMNS; column++)
                bytes += width_of[codes[column]];
        capacity = MIN_OF(NODE_BODY / bytes, max);
        while (place(codes, capacity, ret_shape) > NODE_BODY)
                capacity--;
        return capacity;
}

typedef struct LeafFacts {
        unsigned codes[N_COLUMNS];
        uint64_t addr_base;
        uint32_t kind_base;
} LeafFacts;

static void leaf_facts(const Record *records, unsigned n, LeafFacts *ret) {
        uint64_t len = 0, low = UINT64_MAX, high = 0, gaps = 0;
        uint32_t kind_low = UINT32_MAX, kind_high = 0;

        for (unsigned i = 0; i < n; i++) {
                const Record *r = records + i;
                len = MAX_OF(len, r->len);
                if (i > 0)
                        gaps |= r->start ^ (r[-1].start + r[-1].len);
                if (r->addr > 0) {
                        low = MIN_OF(low, r->addr);
                        high = MAX_OF(high, r->addr);
                }
                kind_low = MIN_OF(kind_low, r->kind);
                kind_high = MAX_OF(kind_high, r->kind);
        }
        ret->addr_base = high == 0 ? 0 : low - 1; /* the lowest is 1 in the column, none is 0 */
        ret->kind_base = n == 0 ? 0 : kind_low;
        uint64_t addr = high - ret->addr_base;
        ret->codes[COLUMN_START] = n == 0 ? 1 : MAX_OF(code_for(records[n - 1].start - records[0].start), 1U);
        ret->codes[COLUMN_LEN] = gaps == 0 ? 0 : code_for(len);
        ret->codes[COLUMN_ADDR] = code_for(addr > UINT32_MAX ? UINT32_MAX : addr);
        ret->codes[COLUMN_ADDR_HIGH] = code_for(addr >> 32);
        ret->codes[COLUMN_KIND] = n == 0 ? 0 : code_for(kind_high - kind_low);
}

unsigned leaf_capacity(const Record *records, unsigned n) {
        LeafFacts facts;
        uint64_t shape;
        leaf_facts(records, n, &facts);
        return capacity_of(facts.codes, RECORDS_MAX, &shape);
}

static void leaf_store(Node *node, uint64_t shape, unsigned i, const Record *r, uint64_t base, uint64_t addr_base,
                       uint32_t kind_base) {
        uint64_t addr = r->addr == 0 ? 0 : r->addr - addr_base;
        column_store(node, shape, COLUMN_START, i, r->start - base);
        column_store(node, shape, COLUMN_LEN, i, r->len);
        column_store(node, shape, COLUMN_ADDR, i, (uint32_t) addr);
        column_store(node, shape, COLUMN_ADDR_HIGH, i, addr >> 32);
        column_store(node, shape, COLUMN_KIND, i, r->kind - kind_base);
}

void leaf_pack(Node *node, const Record *records, unsigned n) {
        LeafFacts facts;
        uint64_t shape, base = n == 0 ? 0 : records[0].start;

        leaf_facts(records, n, &facts);
        capacity_of(facts.codes, RECORDS_MAX, &shape);
        shape |= n;
        STORE(&node->level, 0);
        STORE(&node->base, base);
        STORE(&node->addr_base, facts.addr_base);
        STORE(&node->kind_base, facts.kind_base);
        STORE(&node->end, n == 0 ? 0 : records[n - 1].start + records[n - 1].len);
        STORE(&node->shape, shape);
        for (unsigned i = 0; i < n; i++)
                leaf_store(node, shape, i, records + i, base, facts.addr_base, facts.kind_base);
}

unsigned leaf_unpack(const Node *node, Record *ret) {
        uint64_t shape = LOAD(&node->shape);
        unsigned n = shape_count(shape);
        for (unsigned i = 0; i < n; i++)
                leaf_record(node, shape, i, ret + i);
        return n;
}

static bool fits(uint64_t value, unsigned code) {
        return code_for(value) <= code;
}

bool leaf_has_room(const Node *node, unsigned at, const Record *r) {
        uint64_t shape = LOAD(&node->shape), same, addr_base = LOAD(&node->addr_base), addr = 0;
        unsigned n = shape_count(shape), codes[N_COLUMNS];
        uint32_t kind_base = LOAD(&node->kind_base);

        for (unsigned column = 0; column < N_COLUMNS; column++)
                codes[column] = shape_code(shape, column);
        if (at == 0 || n >= RECORDS_MAX || r->kind < kind_base || (r->addr > 0 && r->addr <= addr_base))
                return false;
        if (r->addr > 0)
                addr = r->addr - addr_base;
        if (!fits(r->start - LOAD(&node->base), codes[COLUMN_START]) || !fits(addr >> 32, codes[COLUMN_ADDR_HIGH]) ||
            !fits((uint32_t) addr, codes[COLUMN_ADDR]) || !fits(r->kind - kind_base, codes[COLUMN_KIND]))
                return false;
        /* without lengths there are no gaps */
        if (codes[COLUMN_LEN] == 0 ? at < n || LOAD(&node->end) != r->start : !fits(r->len, codes[COLUMN_LEN]))
                return false;
        return n < capacity_of(codes, RECORDS_MAX, &same);
}

#define SHIFT(type, p, from, to)                                                                                    \
        do {                                                                                                        \
                type *_p = (void *) (p);                                                                            \
                for (unsigned _i = (to); _i > (from); _i--)                                                         \
                        __atomic_store_n(_p + _i, __atomic_load_n(_p + _i - 1, __ATOMIC_RELAXED), __ATOMIC_RELAXED); \
        } while (false)

void leaf_insert(Node *node, unsigned at, const Record *r) {
        uint64_t shape = LOAD(&node->shape);
        unsigned n = shape_count(shape);

        for (unsigned column = 0; column < N_COLUMNS; column++) {
                unsigned char *p = node->body + shape_offset(shape, column);
                switch (shape_code(shape, column)) {
                case 1: SHIFT(uint8_t, p, at, n); break;
                case 2: SHIFT(uint16_t, p, at, n); break;
                case 3: SHIFT(uint32_t, p, at, n); break;
                case 4: SHIFT(uint64_t, p, at, n); break;
                default: break;
                }
        }
        if (at == n)
                STORE(&node->end, r->start + r->len);
        leaf_store(node, shape, at, r, LOAD(&node->base), LOAD(&node->addr_base), LOAD(&node->kind_base));
        STORE(&node->shape, shape + 1);
}

unsigned inner_capacity(const Child *children, unsigned n) {
        return NODE_BODY / (children[n - 1].key - children[0].key > UINT32_MAX ? 12 : 8);
}

void inner_pack(Node *node, const Child *children, unsigned n) {
        bool wide = children[n - 1].key - children[0].key > UINT32_MAX;
        uint64_t shape;

        place((const unsigned[N_COLUMNS]){ [COLUMN_KEY] = wide ? 4 : 3, [COLUMN_CHILD] = 3 },
              inner_capacity(children, n), &shape);
        shape |= n;
        STORE(&node->base, children[0].key);
        STORE(&node->shape, shape);
        for (unsigned i = 0; i < n; i++) {
                column_store(node, shape, COLUMN_KEY, i, children[i].key - children[0].key);
                column_store(node, shape, COLUMN_CHILD, i, children[i].node);
        }
}

unsigned inner_unpack(const Node *node, Child *ret) {
        uint64_t shape = LOAD(&node->shape), base = LOAD(&node->base);
        unsigned n = shape_count(shape);
        for (unsigned i = 0; i < n; i++)
                ret[i] = (Child){ .key = base + column_load(node, shape, COLUMN_KEY, i),
                                  .node = inner_child(node, shape, i) };
        return n;
}
