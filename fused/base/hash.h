/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables of things by a number, as large as what is in them asks for. A thing has its link as its first member and is somebody else's; a table that
 * is all zeroes is empty, and one that was emptied holds no memory. No locks. */

#include "base/macro.h"

typedef struct HashLink HashLink;
struct HashLink {
        HashLink *next; /* in its bucket */
        uint64_t key;
};

typedef struct HashTable {
        HashLink **buckets; /* owned, 1 << bits; NULL: nothing is there */
        unsigned bits;
        size_t n;
} HashTable;

static inline HashLink **hash_bucket(const HashTable *table, uint64_t key) {
        return &table->buckets[key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - table->bits)];
}

static inline HashLink *hash_find(const HashTable *table, uint64_t key) {
        HashLink *link = table->buckets ? *hash_bucket(table, key) : NULL;

        while (link && link->key != key)
                link = link->next;
        return link;
}

static inline size_t hash_n_buckets(const HashTable *table) {
        return table->buckets ? (size_t) 1 << table->bits : 0;
}

/* Its key is set, and none is there that has it. -ENOMEM. */
int hash_add(HashTable *table, HashLink *link) _must_check_;
void hash_remove(HashTable *table, HashLink *link);

/* All of them; none may be added or removed meanwhile. */
#define HASH_EACH(link, table) \
        for (size_t _i = 0; _i < hash_n_buckets(table); _i++) \
                for (HashLink *link = (table)->buckets[_i]; link; link = link->next)
/* One of them after another until none is left; each is to be removed. */
HashLink *hash_any(const HashTable *table, size_t *cursor); /* *cursor: 0 at first; NULL: the table is empty */
