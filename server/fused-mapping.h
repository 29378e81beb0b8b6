/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only */
#pragma once

/* A mapping: where a range of a file lives. The record is the one of fuse-iomap (struct fuse_iomap_io, 32 bytes), so that it
 * goes to the kernel as it stands. This header is shared by servers and by BPF programs; it includes nothing: whoever
 * includes it has fixed-size types already (<stdint.h>, or <linux/types.h> through the programs' own header).
 *
 *   off  size  field
 *     0     8  offset   in the file, bytes, a multiple of the block size
 *     8     8  length   bytes, a multiple of the block size, not 0
 *    16     8  addr     on the device, bytes; FUSED_MAPPING_ADDR_NONE: nowhere
 *    24     2  type     enum fused_mapping_type
 *    26     2  flags    enum fused_mapping_flags
 *    28     4  dev      the device's cookie, 0: none
 */
struct fused_mapping {
        uint64_t offset;
        uint64_t length;
        uint64_t addr;
        uint16_t type;
        uint16_t flags;
        uint32_t dev;
};

#define FUSED_MAPPING_ADDR_NONE (~(uint64_t) 0)

enum fused_mapping_type {
        FUSED_MAPPING_HOLE = 0,             /* reads as zeroes */
        FUSED_MAPPING_DELALLOC = 1,         /* reserved, not placed yet */
        FUSED_MAPPING_MAPPED = 2,           /* data at addr */
        FUSED_MAPPING_UNWRITTEN = 3,        /* space at addr, reads as zeroes until converted by ioend */
        FUSED_MAPPING_INLINE = 4,           /* data inside the server's own records */
        FUSED_MAPPING_NOCACHE = 253,        /* upsert only: leave this side of the cache alone */
        FUSED_MAPPING_RETRY_CACHE = 254,    /* reply only: the cache knows by now, ask it again */
        FUSED_MAPPING_PURE_OVERWRITE = 255, /* write half only: writes go where reads come from */
};

enum fused_mapping_flags {
        FUSED_MAPPING_F_NEW = 0x1,         /* just allocated: what the device holds there is nobody's, and reads as zeroes */
        FUSED_MAPPING_F_DIRTY = 0x2,
        FUSED_MAPPING_F_SHARED = 0x4,      /* a write has to go elsewhere */
        FUSED_MAPPING_F_MERGED = 0x8,
        FUSED_MAPPING_F_BOUNDARY = 0x10,
        FUSED_MAPPING_F_ANON_WRITE = 0x20,
        FUSED_MAPPING_F_ATOMIC_BIO = 0x40,
        FUSED_MAPPING_F_WANT_END = 0x80,   /* call end() even if nothing is amiss */
        FUSED_MAPPING_F_SETTABLE = 0xff,   /* what a server or program may set */
        FUSED_MAPPING_F_SIZE_CHANGED = 0x100, /* these two: towards the server only */
        FUSED_MAPPING_F_STALE = 0x200,
};

/* What is about to be done with the range. 0 is a read. */
enum fused_mapping_operation {
        FUSED_MAPPING_OP_WRITE = 0x1,
        FUSED_MAPPING_OP_ZERO = 0x2,
        FUSED_MAPPING_OP_REPORT = 0x4, /* FIEMAP, SEEK_HOLE, SEEK_DATA: nothing is read */
        FUSED_MAPPING_OP_FAULT = 0x8,
        FUSED_MAPPING_OP_DIRECT = 0x10,
        FUSED_MAPPING_OP_NOWAIT = 0x20,
        FUSED_MAPPING_OP_OVERWRITE_ONLY = 0x40,
        FUSED_MAPPING_OP_UNSHARE = 0x80,
        FUSED_MAPPING_OP_DAX = 0x100,
        FUSED_MAPPING_OP_ATOMIC = 0x200,
        FUSED_MAPPING_OP_DONTCACHE = 0x400,
        FUSED_MAPPING_OP_SWAPFILE = 0x40000000,
};
#define FUSED_MAPPING_OP_WRITEBACK 0x80000000U
/* What changes the file ("file write" in the kernel's words). */
#define FUSED_MAPPING_OP_CHANGES (FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_ZERO | FUSED_MAPPING_OP_UNSHARE | FUSED_MAPPING_OP_WRITEBACK)

/* How an I/O has ended (ioend). */
enum fused_ioend_flags {
        FUSED_IOEND_SHARED = 0x1,    /* out of place: the data is at new_addr now */
        FUSED_IOEND_UNWRITTEN = 0x2, /* the range was unwritten and holds data now */
        FUSED_IOEND_BOUNDARY = 0x4,
        FUSED_IOEND_DIRECT = 0x8,
        FUSED_IOEND_APPEND = 0x10,   /* it ends past the size on the device */
        FUSED_IOEND_WRITEBACK = 0x20,
        FUSED_IOEND_SWAPOFF = 0x40,
};

/* What a mapping program is called with, and answers in: the context of its `syscall` form, 96 bytes. Programs see this and
 * nothing of the kernel's. */
struct fused_program_call {
        uint64_t nodeid;
        uint64_t pos;      /* bytes */
        uint64_t count;    /* bytes, not 0 */
        uint32_t opflags;  /* enum fused_mapping_operation */
        uint32_t verdict;  /* out: enum fused_program_verdict; also what the program returns */
        struct fused_mapping read;  /* out, zeroed before; both halves must be filled if HANDLED */
        struct fused_mapping write;
};

enum fused_program_verdict {
        FUSED_PROGRAM_FALLBACK = 0, /* ask the server */
        FUSED_PROGRAM_HANDLED = 1,
};

/* What the FUSE device is called in the process that binds a struct_ops form to its connection. */
#define FUSED_PROGRAM_LINK_FD 3

/* What a program's `sample` form is called with: it fills the program's tables for one made-up file on the devices given, so
 * that the supervisor can try the program before anybody depends on it. 96 bytes. */
#define FUSED_PROGRAM_DEVICES_MAX 8
struct fused_sample_call {
        uint64_t nodeid;    /* of the made-up file */
        uint64_t seed;      /* another layout for each */
        uint64_t device_size[FUSED_PROGRAM_DEVICES_MAX]; /* bytes; device i has cookie i + 1 here */
        uint32_t n_devices;
        uint32_t block_size;
        uint64_t file_size; /* out: bytes; 0: there is no sample for these devices */
};

