/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server of a striped volume:
 *
 *   main.c   start and end                            data.c      mappings, sizes, the program's table
 *   names.c  names, attributes, opens                 gap-room.c  room for one more gap
 *   store.c  its state, and when the table is stored
 *
 * A node's id is its place in the table plus 2. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <pthread.h>

#include "program/files.h"
#include "stripe/stripe.h"
#include "stripe/volume.h"

#define ROOT FUSE_ROOT_ID

typedef struct Handed { /* blocks [from, to) of a file that are in a gap, or behind its end */
        uint64_t from, to;
        uint32_t i; /* its place */
} Handed;

typedef struct StripeServer {
        struct fused_map *map;
        StripeVolume volume;
        pthread_mutex_t lock;      /* of everything here, and the program's table */
        Handed handed[STRIPE_GAPS_MAX]; /* given to writes, of which no good end was heard yet: they may be on their way */
        uint32_t n_handed;
        uint32_t filling;          /* the node of which a gap is being filled, 0: none; nobody writes into its gaps or takes its rows meanwhile */
        pthread_cond_t filled;     /* filling has changed */
        uint32_t opens[STRIPE_FILES_MAX], n_opens; /* of each file; of all */
        bool dirty, changed[STRIPE_FILES_MAX]; /* since the table was stored: anything; of each file */
        FilesTable files;
        bool has_program;
        uint32_t uid, gid;
} StripeServer;
extern StripeServer server;

/* All but server_save(), server_save_file() and server_now() are called with the lock. */
StripeFile *server_file(fuse_ino_t ino); /* NULL: there is none */
int64_t server_now(void);
void server_changed(uint32_t i);
int server_save(void) _must_check_; /* the table, if it has changed */
int server_save_file(fuse_ino_t ino) _must_check_; /* if that file has */
int server_save_locked(void) _must_check_;
/* Around what gives rows back: they may become another's only when the stored table says so as well, as after a crash the first would read what the
 * other has written. If the table cannot be stored, it is as it was before. */
void server_begin_change(void);
int server_end_change(void) _must_check_;

int server_reserve(uint32_t i, uint64_t bytes) _must_check_;
int server_set_size(fuse_ino_t ino, uint64_t size) _must_check_; /* may let go of the lock meanwhile */
/* Takes a file's name away at once; what it has, and its place, when nobody has it open any more. No gap of it is being filled. */
int server_remove(uint32_t i) _must_check_;
int server_closed(fuse_ino_t ino) _must_check_; /* somebody has one open less; may let go of the lock */
void server_tell_program(uint32_t i);

/* Until no gap of this file is being filled. Lets go of the lock. */
void server_wait_filled(fuse_ino_t ino);
/* That, and there is room in the table for one more gap. -ENOSPC: writes are on their way into all that could be filled. */
int server_gap_room(fuse_ino_t ino) _must_check_;
void server_hand_out(uint32_t i, uint64_t from, uint64_t to); /* after server_gap_room() */
void server_hand_back(uint32_t i, uint64_t from, uint64_t to); /* nothing is on its way there any more */

void server_name_operations(struct fuse_lowlevel_ops *operations);
extern const struct fused_map_operations server_map_operations;
