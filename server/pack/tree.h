/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tree that is to be packed, as tables in memory: walked in the order of names, so that the same tree makes the same pack. */

#include <sys/types.h>

#include "pack/format.h"

typedef struct Rows {
        void *data; /* owned */
        uint64_t count, room;
        size_t size; /* of a row */
} Rows;

typedef struct Tree {
        Rows inodes, extents, entries, strings;
        uint64_t next_addr; /* bytes: where the next data goes */
        uint64_t data_bytes;
        int device_fd;      /* borrowed */
        uint64_t device_size; /* bytes; UINT64_MAX: it grows */
        bool is_file;         /* the pack itself, if it is in the tree, is left out: this is a regular file... */
        dev_t device;
        ino_t inode;          /* ...with these numbers */
        uint64_t n_files;
        void (*progress)(const struct Tree *tree); /* after each piece of data; may be NULL */
} Tree;

int rows_push(Rows *rows, const void *data, uint64_t n, uint64_t *ret_first) _must_check_;
/* Walks the directory (borrowed), writes the data of its files to the device, fills the tables. Prints what is wrong. */
int tree_pack(Tree *tree, int directory_fd) _must_check_;
void tree_done(Tree *tree);
