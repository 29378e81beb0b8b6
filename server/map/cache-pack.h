/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How records and children stand in a node: as columns, each as narrow as the node's content allows. A leaf's are
 *
 *   start  from base                     1, 2, 4 or 8 bytes
 *   len                                  0 to 8; 0: each record ends where the next one starts
 *   addr   from addr_base, + 1; 0: none  low part 0, 1, 2 or 4 bytes; high part (bits from 32 on) 0, 1, 2 or 4
 *   kind   from kind_base                0, 1 or 2
 *
 * and an inner node's are key (from base; 4 or 8) and child (4). Columns are spaced for as many entries as the body can hold.
 *
 * shape: count (8 bits), then from bit 8 on for each column 3 bits of width (0: none, else 1 + log2) and 8 bits of offset in the body, in fours.
 * It is read at once, and so its columns are inside the body whatever a writer does meanwhile. */

#include "map/cache-private.h"

enum { COLUMN_START, COLUMN_LEN, COLUMN_ADDR, COLUMN_ADDR_HIGH, COLUMN_KIND, N_COLUMNS };
enum { COLUMN_KEY = COLUMN_START, COLUMN_CHILD = COLUMN_LEN };

static inline unsigned shape_count(uint64_t shape) {
        return (unsigned) (shape & 0xff);
}
static inline unsigned shape_code(uint64_t shape, unsigned column) {
        return (unsigned) (shape >> (8 + 11 * column)) & 7;
}
static inline unsigned shape_offset(uint64_t shape, unsigned column) {
        return ((unsigned) (shape >> (11 + 11 * column)) & 0xff) * 4;
}

static inline uint64_t column_load(const Node *node, uint64_t shape, unsigned column, unsigned i) {
        const unsigned char *p = node->body + shape_offset(shape, column);
        switch (shape_code(shape, column)) {
        case 1: return __atomic_load_n(p + i, __ATOMIC_RELAXED);
        case 2: return __atomic_load_n((const uint16_t *) (const void *) p + i, __ATOMIC_RELAXED);
        case 3: return __atomic_load_n((const uint32_t *) (const void *) p + i, __ATOMIC_RELAXED);
        case 4: return __atomic_load_n((const uint64_t *) (const void *) p + i, __ATOMIC_RELAXED);
        default: return 0;
        }
}

/* The last of n ascending values that is not above x; the first counts as not above. n > 0. Branches, and no
 * conditional moves: where memory is slow, what the processor guesses is a prefetch, and half of the guesses are
 * right. */
#define COLUMN_SEARCH(type, p, n, x)                                                                                \
        ({                                                                                                          \
                const type *_p = (const void *) (p), *_t;                                                           \
                type _x = (x);                                                                                      \
                for (uintptr_t _n = (n), _half; (_half = _n / 2) > 0; _n -= _half) {                                \
                        _t = _p + _half;                                                                            \
                        _p = __atomic_load_n(_t, __ATOMIC_RELAXED) <= _x ? _t : _p;                                 \
                }                                                                                                   \
                (unsigned) (_p - (const type *) (const void *) (p));                                                \
        })
#define LIMITED(x, max) ((x) > (max) ? (max) : (x))

static inline unsigned column_search(const Node *node, uint64_t shape, uint64_t x) {
        const unsigned char *p = node->body + shape_offset(shape, COLUMN_START);
        unsigned n = shape_count(shape);
        switch (shape_code(shape, COLUMN_START)) {
        case 1: return COLUMN_SEARCH(uint8_t, p, n, (uint8_t) LIMITED(x, UINT8_MAX));
        case 2: return COLUMN_SEARCH(uint16_t, p, n, (uint16_t) LIMITED(x, UINT16_MAX));
        case 3: return COLUMN_SEARCH(uint32_t, p, n, (uint32_t) LIMITED(x, UINT32_MAX));
        default: return COLUMN_SEARCH(uint64_t, p, n, x);
        }
}

static inline void leaf_record(const Node *node, uint64_t shape, unsigned i, Record *ret) {
        uint64_t base = LOAD(&node->base),
                 addr = column_load(node, shape, COLUMN_ADDR, i) | column_load(node, shape, COLUMN_ADDR_HIGH, i) << 32;
        ret->start = base + column_load(node, shape, COLUMN_START, i);
        if (shape_code(shape, COLUMN_LEN) > 0)
                ret->len = column_load(node, shape, COLUMN_LEN, i);
        else
                ret->len = (i + 1 < shape_count(shape) ? base + column_load(node, shape, COLUMN_START, i + 1)
                                                       : LOAD(&node->end)) -
                                ret->start;
        ret->addr = addr == 0 ? 0 : addr + LOAD(&node->addr_base);
        ret->kind = LOAD(&node->kind_base) + (uint32_t) column_load(node, shape, COLUMN_KIND, i);
}

/* Which child has pos. n > 0. */
static inline unsigned inner_search(const Node *node, uint64_t shape, uint64_t pos) {
        uint64_t base = LOAD(&node->base);
        return column_search(node, shape, pos < base ? 0 : pos - base);
}
static inline NodeIndex inner_child(const Node *node, uint64_t shape, unsigned i) {
        return (NodeIndex) column_load(node, shape, COLUMN_CHILD, i);
}

/* How many records like these a leaf can hold: that these fit into one is leaf_capacity() >= n. */
unsigned leaf_capacity(const Record *records, unsigned n);
void leaf_pack(Node *node, const Record *records, unsigned n);
unsigned leaf_unpack(const Node *node, Record *ret);
/* Whether one more record can go before the one at that index (not before the first) with the columns as they are; and that. */
bool leaf_has_room(const Node *node, unsigned at, const Record *record);
void leaf_insert(Node *node, unsigned at, const Record *record);

#define CHILDREN_MAX (NODE_BODY / 8)
unsigned inner_capacity(const Child *children, unsigned n);
void inner_pack(Node *node, const Child *children, unsigned n);
unsigned inner_unpack(const Node *node, Child *ret);
