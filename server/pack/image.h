/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pack that is read: nothing in it is believed. The metadata area is in memory; a block is checked against its digest when a record in it
 * is asked for first, and a record against its bounds each time. What is wrong is -EUCLEAN, for that record and no other. */

#include <stdatomic.h>

#include "pack/format.h"

typedef struct PackImage {
        PackSuper super;
        uint64_t device_size;  /* bytes */
        uint8_t *metadata;     /* owned */
        uint8_t *digests;      /* owned */
        _Atomic uint8_t *checked; /* owned, one per block: 1 sound, 2 not */
} PackImage;

/* fd: borrowed, read here only. size: of the device. -EUCLEAN: no pack, or its superblock or table of digests is damaged; *ret_why says what. */
int pack_open(int fd, uint64_t size, PackImage *ret, const char **ret_why) _must_check_;
void pack_close(PackImage *image);

int pack_inode(PackImage *image, uint64_t number, PackInode *ret) _must_check_;
/* Extent i of a regular file; sorted, within the file and the data area. */
int pack_extent(PackImage *image, const PackInode *inode, uint64_t i, PackExtent *ret) _must_check_;
/* The last extent that begins at or before pos, as an index + 1, 0 if there is none. */
int pack_find_extent(PackImage *image, const PackInode *inode, uint64_t pos, uint64_t *ret) _must_check_;
/* Entry i of a directory. *ret_name: borrowed, length bytes without a NUL. */
int pack_entry(PackImage *image, const PackInode *inode, uint64_t i, PackEntry *ret, const char **ret_name) _must_check_;
int pack_lookup(PackImage *image, const PackInode *inode, const char *name, uint32_t *ret) _must_check_; /* -ENOENT */
/* Bytes of the string table. */
int pack_string(PackImage *image, uint64_t offset, uint64_t size, const char **ret) _must_check_;
uint64_t pack_digest(const void *block); /* as it stands in the table, in the order of bytes of this machine */
