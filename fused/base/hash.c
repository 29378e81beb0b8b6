/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See hash.h. Buckets are doubled when there are more things than those, and halved when there are few; where there is no memory for that, finding
 * takes longer. */

#include "base/hash.h"

#define BITS_MIN 4U
#define PART 8U /* of the buckets: with fewer things there are too many */

static int resize(HashTable *table, unsigned bits) {
        HashTable with = {.buckets = calloc((size_t) 1 << bits, sizeof *with.buckets), .bits = bits, .n = table->n};

        if (!with.buckets)
                return -ENOMEM;
        for (size_t i = 0; i < hash_n_buckets(table); i++)
                for (HashLink *link = table->buckets[i], *next; link; link = next) {
                        HashLink **bucket = hash_bucket(&with, link->key);
                        next = link->next;
                        link->next = *bucket;
                        *bucket = link;
                }
        free(table->buckets);
        *table = with;
        return 0;
}

int hash_add(HashTable *table, HashLink *link) {
        HashLink **bucket;

        if (table->n >= hash_n_buckets(table)) {
                int r = resize(table, table->buckets ? table->bits + 1 : BITS_MIN);
                if (r < 0 && !table->buckets)
                        return r;
        }
        bucket = hash_bucket(table, link->key);
        link->next = *bucket;
        *bucket = link;
        table->n++;
        return 0;
}

void hash_remove(HashTable *table, HashLink *link) {
        HashLink **place = hash_bucket(table, link->key);

        while (*place != link)
                place = &(*place)->next;
        *place = link->next;
        table->n--;
        if (table->n == 0) {
                free(table->buckets);
                *table = (HashTable){0};
        } else if (table->bits > BITS_MIN && table->n < hash_n_buckets(table) / PART)
                (void) resize(table, table->bits - 1);
}

HashLink *hash_any(const HashTable *table, size_t *cursor) {
        if (table->n == 0)
                return NULL;
        *cursor &= hash_n_buckets(table) - 1; /* there may have been more */
        while (!table->buckets[*cursor])
                *cursor = (*cursor + 1) & (hash_n_buckets(table) - 1);
        return table->buckets[*cursor];
}
