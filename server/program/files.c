/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See files.h. */

#include "program/files.h"

#include <string.h>

static uint64_t *slot(FilesTable *table, uint64_t i) {
        return (uint64_t *) (void *) ((char *) table->data + (1 + i) * table->entry_size);
}

static uint32_t hash(uint64_t nodeid) {
        return (uint32_t) (nodeid * 0x9e3779b97f4a7c15ULL >> 32);
}

int files_init(FilesTable *table, void *data, size_t entry_size, uint64_t n_entries) {
        uint64_t n = 1;

        if (n_entries < 2 || entry_size < 2 * sizeof(uint64_t))
                return -EINVAL;
        while (n * 2 < n_entries && n < 1ULL << 31)
                n *= 2;
        *table = (FilesTable){.data = data, .entry_size = entry_size, .n_slots = n};
        for (uint64_t i = 0; i < n; i++)
                __atomic_store_n(slot(table, i), 0, __ATOMIC_RELEASE);
        __atomic_store_n((uint64_t *) data, n, __ATOMIC_RELEASE);
        return 0;
}

/* Where `wanted` (the id itself, or 0: a free slot) is among the slots for nodeid. */
static uint64_t *find(FilesTable *table, uint64_t nodeid, uint64_t wanted) {
        for (uint32_t i = 0; i < FILES_PROBES; i++) {
                uint64_t *place = slot(table, (hash(nodeid) + i) & (table->n_slots - 1));
                if (*place == wanted)
                        return place;
        }
        return NULL;
}

/* Whoever looks now asks the server; whoever has looked already sees by the count that what it read may be something else by now. */
static void take_away(FilesTable *table, uint64_t *place) {
        if (*place == 0)
                return;
        __atomic_store_n(place, 0, __ATOMIC_SEQ_CST);
        __atomic_fetch_add((uint64_t *) table->data + 1, 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* and only then is the room used again */
}

void *files_get(FilesTable *table, uint64_t nodeid) {
        return nodeid == 0 ? NULL : find(table, nodeid, nodeid);
}

int files_put(FilesTable *table, const void *entry) {
        uint64_t nodeid, *place;

        memcpy(&nodeid, entry, sizeof nodeid);
        if (nodeid == 0)
                return -EINVAL;
        place = find(table, nodeid, nodeid);
        if (!place)
                place = find(table, nodeid, 0);
        if (!place)
                return -ENOSPC;
        take_away(table, place);
        memcpy(place + 1, (const char *) entry + sizeof nodeid, table->entry_size - sizeof nodeid);
        __atomic_store_n(place, nodeid, __ATOMIC_RELEASE);
        return 0;
}

void files_remove(FilesTable *table, uint64_t nodeid) {
        uint64_t *place = nodeid == 0 ? NULL : find(table, nodeid, nodeid);

        if (place)
                take_away(table, place);
}
