/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One change of a cache's tree. The writer goes down to a leaf, unpacks it, and puts it back changed; nodes it
 * writes are odd from then until change_end(), so that a reader sees the tree before or after, never between. New
 * nodes are reserved before anything is written. */

#include "map/cache-pack.h"

#define NEW_LEAVES_MAX 32U
#define TOUCHED_MAX (2 * NEW_LEAVES_MAX + 4 * HEIGHT_MAX)

typedef struct Change {
        MappingCache *cache;
        unsigned height;               /* 0: no tree */
        NodeIndex nodes[HEIGHT_MAX];   /* the way down; [0] is the leaf */
        unsigned at[HEIGHT_MAX];       /* the child taken there */
        uint64_t low[HEIGHT_MAX];      /* where the node's range begins, by what its ancestors say */
        uint64_t high[HEIGHT_MAX];     /* and where it ends; UINT64_MAX: nowhere */
        unsigned high_level;           /* of the node that says where the leaf's ends */

        Node *touched[TOUCHED_MAX];
        NodeIndex dropped[TOUCHED_MAX], spare[TOUCHED_MAX];
        unsigned n_touched, n_dropped, n_spare, n_spare_used;
        bool cache_touched;
        int64_t delta;                 /* mappings more than before */
} Change;

static inline Node *change_node(const Change *c, unsigned level) {
        return pool_node(c->cache->pool, c->nodes[level]);
}

void change_begin(Change *c, MappingCache *cache);
void change_end(Change *c);
void change_descend(Change *c, uint64_t block);
int change_reserve(Change *c, unsigned n);
NodeIndex change_new_node(Change *c, unsigned level); /* of those reserved */
void change_touch(Change *c, Node *node);
void change_drop(Change *c, NodeIndex index);
void change_set_root(Change *c, uint64_t root);
void change_set_inline(Change *c, const Record *records, unsigned n);
/* In the node of that level on the way down, puts k children in the place of m from at on; splits and drops nodes up
 * to the root. k new nodes and height + 1 are reserved. The way down is not valid any more. */
void change_children(Change *c, unsigned level, unsigned at, unsigned m, const Child *with, unsigned k);

/* The records of the leaf on the way down, or of the cache without a tree. */
unsigned change_records(const Change *c, Record *ret);
/* Puts them back, in as many leaves as they need. n_before: how many it had. inserted: index of the one that is new,
 * -1: none. When there is no memory the leaf is forgotten, and the answer is -ENOMEM. */
int change_store(Change *c, const Record *records, unsigned n, unsigned n_before, int inserted);
