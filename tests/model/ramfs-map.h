/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small server that maps, for tests: one directory of files, whose blocks lie wildly on two devices. It is not told which engine it runs on,
 * and changes with a few switches how it answers. What it frees it fills with noise, so that old data cannot pass for new. */

#include <pthread.h>

#include "fused-map.h"

#define RAMFS_FILES 4
#define RAMFS_BLOCKS 1024 /* of a file, and of a device */
#define RAMFS_DEVICES 2

struct Ramfs;

typedef struct RamfsConfig {
        uint32_t block_size;
        uint64_t cache_bytes; /* 0: as many as the library wants */
        bool unwritten; /* new space is unwritten until ioend; else it is new */
        bool elsewhere; /* what holds data is never written to: out of place */
        bool retries;   /* tells the cache, and answers that it knows */
        bool no_ends, no_ioends; /* end(), ioend() is not there */
        bool inlines;   /* a file's first block is in the server's records, always */
        bool direct_io; /* files are opened for direct I/O only */
        bool no_writeback;
        uint64_t max_bytes; /* 0: as many as the library wants */
        bool kills;     /* kill_privileges() is there */
        int (*start)(struct Ramfs *ramfs); /* what start() does besides */
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
        uint8_t first[8192]; /* inline */
} RamfsFile;

typedef struct Ramfs {
        RamfsConfig config;
        struct fused_map *map; /* owned */
        pthread_mutex_t lock;
        int device_fds[RAMFS_DEVICES]; /* owned */
        bool used[RAMFS_DEVICES][RAMFS_BLOCKS];
        RamfsFile files[RAMFS_FILES];
        unsigned n_files, n_begin, n_ends, n_ioends, n_starts;
        int begin_error;         /* what begin() is to answer... */
        uint32_t begin_error_op; /* ...to these operations */
        int start_error, end_error, ioend_error, kill_error; /* what they are to answer */
        int upsert_error; /* of the last upsert */
        struct { /* of end() */
                struct fused_map_request request;
                int64_t written;
                struct fused_mapping mapping;
        } last_end;
        struct fused_map_ioend last_ioend;
        uint64_t ioend_size; /* what ioend() says that the file's size is; 0: the truth */
        uint64_t last_fh;    /* of READ and WRITE */
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
