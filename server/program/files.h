/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of files that mapping programs share (bpf/fused-program.h): open addressing by node id, in memory that the program reads while it is
 * changed. Entry 0 holds the number of slots, a power of two, and how often a file has gone; a file is in one of FILES_PROBES slots from its
 * hash on. An entry begins with the node id, 0 if it is free, which is written last and taken away first. A program that was reading while a
 * file went gives no answer, so that it sees a whole file or none. One thread changes a table at a time. */

#include "base/macro.h"

#define FILES_PROBES 16

typedef struct FilesTable {
        void *data;       /* borrowed: the program's table */
        size_t entry_size; /* bytes */
        uint64_t n_slots;
} FilesTable;

/* n_entries: of the table, at least 2; what is beyond the largest power of two below it stays unused. Everything is free then. */
int files_init(FilesTable *table, void *data, size_t entry_size, uint64_t n_entries) _must_check_;
/* entry: of entry_size bytes, its first eight the node id, not 0. Replaces one of that id. -ENOSPC: its slots are taken. */
int files_put(FilesTable *table, const void *entry) _must_check_;
void *files_get(FilesTable *table, uint64_t nodeid); /* NULL: not there */
void files_remove(FilesTable *table, uint64_t nodeid);
