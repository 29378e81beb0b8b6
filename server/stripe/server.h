/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server of a striped volume: names.c has the low-level operations, data.c the mappings, main.c what both stand on. A node's id is its place in
 * the table, and 2. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <pthread.h>

#include "program/files.h"
#include "stripe/stripe.h"
#include "stripe/volume.h"

#define ROOT FUSE_ROOT_ID

typedef struct StripeServer {
        struct fused_map *map;
        StripeVolume volume;
        pthread_mutex_t lock; /* of the table, the marks, the program's table */
        uint64_t marks[STRIPE_FILES_MAX]; /* bytes up to which a file's rows hold what is its own */
        uint32_t opens[STRIPE_FILES_MAX], n_opens; /* of each file; of all */
        bool dirty;
        FilesTable files;
        bool has_program;
        char *source; /* owned */
        uint32_t uid, gid;
} StripeServer;
extern StripeServer server;

/* All but server_save() and server_now() are called with the lock. */
StripeFile *server_file(fuse_ino_t ino); /* NULL: there is none */
int64_t server_now(void);
int server_save(void) _must_check_; /* the table, if it has changed */
int server_save_locked(void) _must_check_;

int server_reserve(uint32_t i, uint64_t bytes) _must_check_;
int server_set_size(StripeFile *file, uint64_t size) _must_check_;
void server_tell_program(uint32_t i);

void server_name_operations(struct fuse_lowlevel_ops *operations);
extern const struct fused_map_operations server_map_operations;
