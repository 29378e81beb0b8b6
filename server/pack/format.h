/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pack: a tree, written once, on a device or in a file. Little-endian, blocks of 4096 bytes.
 *
 *   block 0          PackSuper
 *   block 1 ..       data of files, each extent from a block's beginning on; what is behind a file's end in its last block is zero
 *   metadata area    records, one table after the other: inodes, extents, entries, then strings; padded to a block
 *   digests          for each block of the metadata area the first 8 bytes of its SHA-256; padded to a block
 *
 * The superblock holds the SHA-256 of the table of digests and its own: every byte of metadata is vouched for, a block's only when it is looked
 * at. Data is not, when it is read; the inode has its SHA-256 for `fused-pack verify`. The superblock is written last. */

#include "base/macro.h"

#define PACK_MAGIC "fusdpack"
#define PACK_VERSION 2U
#define PACK_BLOCK 4096U
#define PACK_DIGEST 8U /* bytes of a metadata block's digest */
#define PACK_METADATA_MAX (768ULL << 20) /* the server has it in memory, and may have 1 GiB (policy/types/pack.conf.in) */
#define PACK_NAME_MAX 255U

typedef struct PackTable {
        uint64_t offset; /* bytes from the beginning of the metadata area */
        uint64_t count;  /* rows; bytes for strings */
} PackTable;

typedef struct PackSuper {
        char magic[8];
        uint32_t version;
        uint32_t block_size;
        uint64_t n_blocks;        /* of the whole pack */
        uint64_t metadata_block;  /* where the area begins */
        uint64_t metadata_blocks;
        uint64_t digests_block;
        PackTable inodes, extents, entries, strings;
        uint64_t data_bytes;      /* of all files, for statfs */
        uint8_t root[32];         /* SHA-256 of the digests, 8 * metadata_blocks bytes */
        uint8_t own[32];          /* SHA-256 of everything before */
} PackSuper;

typedef struct PackInode { /* number i is row i - 1; 1 is the root */
        uint32_t mode, n_links, uid, gid;
        uint64_t size;       /* bytes; of a symbolic link: of its target */
        uint64_t stored;     /* regular: bytes of its extents together */
        int64_t mtime;       /* seconds */
        uint32_t mtime_nsec;
        uint32_t rdev;
        uint64_t first;      /* regular: extents; directory: entries, sorted by name; symbolic link: strings */
        uint64_t count;
        uint64_t xattrs;     /* strings: PackXattr after PackXattr */
        uint32_t xattrs_size;
        uint32_t parent;     /* of a directory */
        uint8_t sha256[32];  /* regular: of its content without the holes */
} PackInode;

typedef struct PackExtent {
        uint64_t offset, length; /* bytes, multiples of the block */
        uint64_t addr;           /* bytes */
} PackExtent;

typedef struct PackEntry {
        uint64_t name; /* strings */
        uint32_t length;
        uint32_t inode;
} PackEntry;

typedef struct PackXattr { /* then the name, then the value, without padding */
        uint32_t name_size, value_size; /* the kernel's limit is 64 KiB for a value */
} PackXattr;
