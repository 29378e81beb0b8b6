/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Loading a mapping program from memory with libbpf: what the vetting child of the supervisor does, and what tests do. The object is that of
 * fused-program.h: NAME_run, NAME_fill, tables, and struct_ops forms of which at most one is loaded. These parts are loaded one by one, as the
 * kernel is to be asked for each with other rights, and may have the same tables. Negative errno everywhere. */

#include <stdbool.h>
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
        bool constant;       /* the compiler's (.rodata): as it is in the object, and not to be written to */
        void *data;          /* mapped by load_map_tables(), or NULL; never of constants */
} LoadedTable;

typedef enum LoadPart {
        LOAD_TABLES, /* no program */
        LOAD_RUN,    /* NAME_run */
        LOAD_SAMPLE, /* NAME_fill */
        LOAD_FORM,   /* the struct_ops form for a variant */
        _LOAD_PART_MAX,
} LoadPart;

typedef struct Loaded {
        LoadPart part;
        struct bpf_object *object; /* owned */
        void *elf;                 /* owned copy */
        int fd;                    /* the object's: of the program, of a form its struct_ops map; negative: none, or not loaded */
        LoadedTable tables[LOAD_TABLES_MAX];
        size_t n_tables;
} Loaded;

#define LOADED_NULL ((Loaded){.fd = -1})

/* Parses. variant: whose form it is to be, else VARIANT_NONE. */
int load_open(const void *elf, size_t size, LoadPart part, Variant variant, Loaded *ret);
/* Between open and load. How many entries a table is to have; -ENOENT: there is none of that name. */
int load_set_entries(Loaded *loaded, const char *table, uint32_t n_entries);
/* Or: its tables are those of another part, loaded already, which has to live as long. */
int load_share_tables(Loaded *loaded, const Loaded *from);
/* Or: tables that no program can write to, and so none that a server could fill. The verifier then says whether the program tries. */
int load_protect_tables(Loaded *loaded);
/* The kernel's verifier. log: where its words go, NULL: nowhere. */
int load_load(Loaded *loaded, char *log, size_t log_size);
/* After that, of a form: gives the struct_ops map its value, once for all; a link can then be made of fd (Linux 6.4), by another process and with
 * no capability, and for fuse-iomap by one that has the FUSE device as FUSED_PROGRAM_LINK_FD. */
int load_finish_ops(Loaded *loaded);
int load_map_tables(Loaded *loaded);
const LoadedTable *load_table(const Loaded *loaded, const char *name);
void load_done(Loaded *loaded); /* closes and unmaps everything; LOADED_NULL is fine */
