/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What names.c and tree.c share: a directory that is looked through block by block. */

#include "ext4-map/volume.h"

typedef struct Directory {
        Volume *volume;
        ext2_ino_t ino;
        Inode inode;
        uint64_t n_blocks;
        uint8_t *buffer; /* owned: one of its blocks */
        blk64_t place;   /* where that one is */
} Directory;

typedef struct Place { /* in directory->buffer */
        struct ext2_dir_entry *entry, *before; /* before: NULL if it is the first */
} Place;

int directory_open(Volume *volume, ext2_ino_t ino, Directory *ret) _must_check_;
void directory_done(Directory *directory);
#define _cleanup_directory_ _cleanup_(directory_done)
int directory_read(Directory *directory, uint64_t block) _must_check_; /* 1: it is in the buffer; 0: a hole */
int directory_write(Directory *directory) _must_check_;                /* what is in the buffer */
/* The entry at offset of the buffer, checked: its length. name is empty if there is none. */
int directory_entry(const Directory *directory, unsigned offset, struct ext2_dir_entry **ret, char name[EXT2_NAME_LEN + 1]) _must_check_;
int directory_search(const Directory *directory, const char *name, Place *ret) _must_check_; /* the buffer. 1: it is there */

/* ---- tree.c --------------------------------------------------------------------------------------------------------- */

/* By its hash. 1: it is there; 0: it is not; -EAGAIN: the tree does not say. */
int tree_find(Directory *directory, const char *name, Place *ret) _must_check_;
/* Names in the order of their hashes, as name_list(). -EAGAIN, before anything was visited: it has none. */
int tree_list(Directory *directory, uint64_t position, NameVisitor visit, void *userdata) _must_check_;
/* Makes a directory of one block, which is full, one with a tree. 1: done; 0: it cannot have one. */
int tree_make(Volume *volume, ext2_ino_t dir) _must_check_;
