/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Loading a mapping program from memory with libbpf: what the vetting child of the supervisor does, and what tests do. The object is that of
 * fused-program.h: NAME_run, NAME_fill, tables, and struct_ops forms of which at most one is loaded. Negative errno everywhere. */

#include <stddef.h>
#include <stdint.h>

#include <bpf/libbpf.h>

#include "variant.h"

#define LOAD_TABLES_MAX 8

typedef struct LoadedTable {
        const char *name; /* the object's */
        uint32_t n_entries;
        uint32_t entry_size; /* bytes from entry to entry in memory */
        int fd;              /* the object's */
        void *data;          /* mapped by load_map_tables(), or NULL */
} LoadedTable;

typedef struct Loaded {
        struct bpf_object *object; /* owned */
        void *elf;                 /* owned copy */
        int run_fd, fill_fd;       /* the object's; fill_fd negative: there is no sample */
        int ops_fd;                /* the struct_ops map's, negative: none was asked for or fits */
        LoadedTable tables[LOAD_TABLES_MAX];
        size_t n_tables;
} Loaded;

/* Parses. variant: whose struct_ops form is to be loaded as well; VARIANT_NONE: none. */
int load_open(const void *elf, size_t size, Variant variant, Loaded *ret);
/* Between open and load: how many entries a table is to have. -ENOENT: there is none of that name. */
int load_set_entries(Loaded *loaded, const char *table, uint32_t n_entries);
/* The kernel's verifier. log: where its words go, NULL: nowhere. */
int load_load(Loaded *loaded, char *log, size_t log_size);
/* After that: gives the struct_ops map its value, once for all; a link can then be made of ops_fd (Linux 6.4), by another process and with no
 * capability, and for fuse-iomap by one that has the FUSE device as FUSED_PROGRAM_LINK_FD. */
int load_finish_ops(Loaded *loaded);
int load_map_tables(Loaded *loaded);
LoadedTable *load_table(Loaded *loaded, const char *name);
void load_done(Loaded *loaded); /* closes and unmaps everything; a Loaded of zeroes is fine */
