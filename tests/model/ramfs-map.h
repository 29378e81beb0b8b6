/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small server that maps, for tests: one directory of files, whose blocks lie wildly on two devices. It is not told which engine it runs on,
 * and changes with a few switches how it answers. What it frees it fills with noise, so that old data cannot pass for new. */

#include <pthread.h>

#include "fused-map.h"

#define RAMFS_FILES 4
#define RAMFS_BLOCKS 1024 /* of a file, and of a device */
#define RAMFS_DEVICES 2

typedef struct RamfsConfig {
        uint32_t block_size;
        uint64_t cache_bytes; /* 0: as many as the library wants */
        bool unwritten; /* new space is unwritten until ioend; else it is new */
        bool elsewhere; /* what holds data is never written to: out of place */
        bool retries;   /* tells the cache, and answers that it knows */
        bool no_ends;   /* end() is not there */
        bool kills;     /* kill_privileges() is there */
        bool program;   /* what is mapped is said to be the program's as well */
        int clone_fd;   /* another descriptor of the device, taken over: a second thread. 0: none */
} RamfsConfig;

typedef enum RamfsState {
        RAMFS_HOLE,
        RAMFS_DATA,
        RAMFS_UNWRITTEN,
} RamfsState;

typedef struct RamfsBlock {
        RamfsState state;
        uint8_t dev; /* from 1 on */
        uint16_t block;
} RamfsBlock;

typedef struct RamfsFile {
        char name[16];
        uint64_t size;
        RamfsBlock blocks[RAMFS_BLOCKS], pending[RAMFS_BLOCKS]; /* pending: where an overwrite goes */
} RamfsFile;

typedef struct Ramfs {
        RamfsConfig config;
        struct fused_map *map; /* owned */
        pthread_mutex_t lock;
        int device_fds[RAMFS_DEVICES]; /* owned */
        bool used[RAMFS_DEVICES][RAMFS_BLOCKS];
        RamfsFile files[RAMFS_FILES];
        unsigned n_files, n_begin, n_ends, n_ioends, n_starts;
        int start_error, upsert_error; /* of the last upsert */
        uint32_t last_end_dev;
        int last_error; /* that came with an ioend */
        unsigned n_kills, last_kill; /* FUSED_KILL_* */
        char started_engine[8];
        int (*sync)(void);    /* what sync() does, if it is there */
        /* Spoils the next answers, if it is there. */
        void (*spoil)(struct fused_mapping *read, struct fused_mapping *write);
        unsigned seed;
} Ramfs;

void ramfs_init(Ramfs *ramfs, const RamfsConfig *config); /* asserts */
void ramfs_done(Ramfs *ramfs);
/* The same as the server has it: for programs. */
void ramfs_where(Ramfs *ramfs, uint64_t nodeid, uint64_t pos, struct fused_mapping *ret);
