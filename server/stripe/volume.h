/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A striped volume: files interleaved over 2 to 4 devices, chunk by chunk. Little-endian, blocks of 4096 bytes.
 *
 *   each member   block 0: StripeMember. Row r is the chunk at (first row + r) * chunk
 *   member 0      the table of files, twice, in the blocks that follow. Each save writes both, one after the other: one is always whole, and when
 *                 one is damaged later, the other says the same. Of two that are sound the one with the higher sequence number is meant
 *
 * A file has rows of its own, one after the other, over all members: chunk k of it is in row k / n of member k % n. It grows as
 * long as the rows behind it are free. */

#include "base/macro.h"

#define STRIPE_MAGIC "fusdstrp"
#define STRIPE_TABLE_MAGIC "fusdstrt"
#define STRIPE_VERSION 1U
#define STRIPE_BLOCK 4096U
#define STRIPE_MEMBERS_MAX 4U
#define STRIPE_FILES_MAX 500U
#define STRIPE_NAME_MAX 71U
#define STRIPE_TABLE_BLOCKS 16U
#define STRIPE_SHIFT_MIN 12U /* chunks of 4 KiB... */
#define STRIPE_SHIFT_MAX 26U /* ...to 64 MiB */

typedef struct StripeMember {
        char magic[8];
        uint32_t version, index, n_members, shift;
        uint8_t uuid[16];
        uint64_t n_rows;   /* of the volume: what the smallest member has */
        uint8_t own[32];   /* SHA-256 of everything before */
} StripeMember;

typedef struct StripeFile {
        char name[STRIPE_NAME_MAX + 1]; /* "": free */
        uint64_t size;     /* bytes */
        uint64_t first;    /* row */
        uint64_t n_rows;
        int64_t mtime;     /* nanoseconds since 1970 */
        uint32_t mode, uid, gid, reserved;
} StripeFile;

typedef struct StripeTable {
        char magic[8];
        uint64_t sequence;
        uint8_t uuid[16];
        StripeFile files[STRIPE_FILES_MAX];
        uint8_t own[32];
} StripeTable;
_Static_assert(sizeof(StripeTable) <= STRIPE_TABLE_BLOCKS * STRIPE_BLOCK, "a copy of the table has its blocks");

typedef struct StripeVolume {
        int fds[STRIPE_MEMBERS_MAX]; /* borrowed */
        uint32_t n, shift;
        uint64_t n_rows;
        uint8_t uuid[16];
        StripeTable table;
} StripeVolume;

/* Members in any order are refused: fds[i] has to be member i. -EUCLEAN: *ret_why says what is wrong with which. */
int stripe_open(const int *fds, const uint64_t *sizes, uint32_t n, StripeVolume *ret, const char **ret_why) _must_check_;
/* Makes a new, empty one. */
int stripe_create(const int *fds, const uint64_t *sizes, uint32_t n, uint32_t shift, const uint8_t uuid[16]) _must_check_;
/* The table to the media. */
int stripe_save(StripeVolume *volume) _must_check_;

int stripe_find(const StripeVolume *volume, const char *name); /* index, or -ENOENT */
int stripe_add(StripeVolume *volume, const char *name);        /* index, or -EEXIST, -ENOSPC, -EINVAL, -ENAMETOOLONG */
/* Gives a file rows for that many bytes, if those behind it are free. -ENOSPC. Fewer: gives back. */
int stripe_reserve(StripeVolume *volume, uint32_t i, uint64_t bytes) _must_check_;
/* Where the chunk is that holds pos: member, bytes on it, and [*ret_offset, + chunk) of the file. */
void stripe_map(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint32_t *ret_member, uint64_t *ret_addr, uint64_t *ret_offset);
uint64_t stripe_first_addr(const StripeVolume *volume, const StripeFile *file); /* of its row 0, on every member */
static inline uint64_t stripe_room(const StripeVolume *volume, const StripeFile *file) { /* bytes that its rows hold */
        return (file->n_rows * volume->n) << volume->shift;
}
/* Moves [pos, pos + size) between memory and members, within the file's rows. data NULL: zeroes are written. */
int stripe_move(const StripeVolume *volume, const StripeFile *file, bool write, uint64_t pos, void *data, uint64_t size) _must_check_;
