/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A striped volume: files interleaved over 2 to 8 devices, chunk by chunk. Little-endian, blocks of 4096 bytes. The manual, fused-stripe(1), has
 * the layout in full.
 *
 *   each member   block 0: StripeMember. Row r is the chunk at (first row + r) * chunk
 *   member 0      the table of files, twice, in the blocks that follow. Each save writes both, one after the other: one is always whole, and when
 *                 one is damaged later, the other says the same. Of two that are sound, the one with the higher sequence number counts
 *
 * A file has rows of its own over all members: chunk k of it is in its row k / n, on member k % n. Its rows are in runs, one after the other;
 * it grows while rows behind the last one are free, and in a new run otherwise. The runs of all files are in one array, sorted by file.
 *
 * Rows hold whatever the devices held before. A part of a file is a gap, which reads as zeroes, until its data is known to be on the devices: so a
 * write that fails, or is cut short by a crash, leaves a gap. Gaps are in a second array, sorted likewise. */

#include <time.h>

#include "base/macro.h"

#define STRIPE_MAGIC "fusdstrp"
#define STRIPE_TABLE_MAGIC "fusdstrt"
#define STRIPE_VERSION 3U
#define STRIPE_BLOCK 4096U
#define STRIPE_MEMBERS_MAX 8U /* as many as a mapping program knows */
#define STRIPE_FILES_MAX 500U
#define STRIPE_RUNS_MAX 4096U /* of all files */
#define STRIPE_GAPS_MAX 2048U /* likewise */
#define STRIPE_NAME_MAX 71U
#define STRIPE_TABLE_BLOCKS 40U
#define STRIPE_SHIFT_MIN 12U /* chunks of 4 KiB... */
#define STRIPE_SHIFT_MAX 26U /* ...to 64 MiB */

typedef struct StripeMember {
        char magic[8];
        uint32_t version, index, n_members, shift;
        uint8_t uuid[16];
        uint64_t n_rows;   /* of the volume: what the smallest member has */
        uint8_t own[32];   /* SHA-256 of everything before */
} StripeMember;

typedef struct StripeRun {
        uint64_t first, n_rows; /* at least one */
} StripeRun;

typedef struct StripeGap {
        uint64_t offset, length; /* bytes, multiples of the block; within the blocks up to the file's end */
} StripeGap;

typedef struct StripeFile {
        char name[STRIPE_NAME_MAX + 1]; /* "": free */
        uint64_t size;     /* bytes */
        uint64_t n_rows;   /* of its runs together */
        int64_t mtime;     /* nanoseconds since 1970 */
        uint16_t mode;
        uint16_t removed;  /* 1: it was removed while somebody had it open; it goes with all that it has when the volume is opened next */
        uint32_t uid, gid;
        uint32_t generation; /* one more for each file in this place; stays when it is free */
        uint32_t first_run;  /* how many runs the files before this have; of free places as well */
        uint32_t n_runs;
        uint32_t first_gap, n_gaps; /* likewise; sorted by offset, no two share a block */
} StripeFile;

typedef struct StripeTable {
        char magic[8];
        uint8_t own[32];   /* SHA-256 of everything behind this, up to the last run that is used */
        uint64_t sequence;
        uint8_t uuid[16];
        uint32_t n_runs, n_gaps;
        uint8_t gaps_own[32]; /* SHA-256 of the gaps that are used */
        StripeFile files[STRIPE_FILES_MAX];
        StripeRun runs[STRIPE_RUNS_MAX]; /* these and the gaps: written as far as they are used */
        StripeGap gaps[STRIPE_GAPS_MAX];
} StripeTable;
_Static_assert(sizeof(StripeTable) <= STRIPE_TABLE_BLOCKS * STRIPE_BLOCK, "a copy of the table has its blocks");

typedef struct StripeVolume {
        int fds[STRIPE_MEMBERS_MAX]; /* borrowed */
        uint32_t n, shift;
        uint64_t n_rows;
        uint32_t n_damaged; /* copies of the table, when it was opened; the next save writes both */
        uint8_t uuid[16];
        StripeTable table;
} StripeVolume;

typedef struct StripeWhy {
        const char *words; /* static */
        uint32_t member;   /* of which they are true */
} StripeWhy;

/* Members in any order are refused: fds[i] has to be member i. On failure *ret_why says why. No file is marked as removed. */
int stripe_open(const int *fds, const uint64_t *sizes, uint32_t n, StripeVolume *ret, StripeWhy *ret_why) _must_check_;
/* Makes a new, empty one. */
int stripe_create(const int *fds, const uint64_t *sizes, uint32_t n, uint32_t shift, const uint8_t uuid[16]) _must_check_;
/* The table to the media. */
int stripe_save(StripeVolume *volume) _must_check_;

int stripe_find(const StripeVolume *volume, const char *name); /* index, or -ENOENT */
int stripe_add(StripeVolume *volume, const char *name);        /* index, or -EEXIST, -ENOSPC, -EINVAL, -ENAMETOOLONG */
void stripe_remove(StripeVolume *volume, uint32_t i);
/* Gives a file rows for that many bytes; fewer: gives back. apart: others grow as well, so that a file without rows begins in the midst
 * of what is free and not right behind one. -ENOSPC: fewer are free, or there are too many runs; then nothing has changed. */
int stripe_reserve(StripeVolume *volume, uint32_t i, uint64_t bytes, bool apart) _must_check_;
/* Where the chunk is that holds pos, which is within the file's rows: member, bytes on it, and [*ret_offset, + chunk) of the file. */
void stripe_map(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint32_t *ret_member, uint64_t *ret_addr, uint64_t *ret_offset);
/* Where a row begins on every member, bytes. */
uint64_t stripe_row_addr(const StripeVolume *volume, uint64_t row);
/* The first run, which a mapping program can compute: where it begins on every member, and the bytes of the file that it holds. */
void stripe_first_run(const StripeVolume *volume, const StripeFile *file, uint64_t *ret_addr, uint64_t *ret_bytes);
static inline uint64_t stripe_room(const StripeVolume *volume, const StripeFile *file) { /* bytes that its rows hold */
        return (file->n_rows * volume->n) << volume->shift;
}
/* Zeroes at an address of a member, on its media. */
int stripe_zero(const StripeVolume *volume, uint32_t member, uint64_t addr, uint64_t size) _must_check_;
/* [pos, pos + size) of a file is on its devices, and the rest of the first and the last block: no gap any more. If it ends behind the file's end,
 * the file ends there from now on, with a gap in between. -ENOSPC: it would take one gap more than there can be; nothing has changed. */
int stripe_written(StripeVolume *volume, uint32_t i, uint64_t pos, uint64_t size) _must_check_;
/* Another size, within the file's rows. What is new is a gap. -ENOSPC likewise, not if it gets shorter. */
int stripe_resize(StripeVolume *volume, uint32_t i, uint64_t size) _must_check_;
/* Is pos neither in a gap nor behind the file's last block? [*ret_from, *ret_to): the blocks around it with the same answer. */
bool stripe_is_written(const StripeVolume *volume, const StripeFile *file, uint64_t pos, uint64_t *ret_from, uint64_t *ret_to);
/* Nanoseconds since 1970, before it negative; what is too far away is as far as they go. */
int64_t stripe_time(const struct timespec *time);
struct timespec stripe_timespec(int64_t nsec); /* its tv_nsec is never negative */
/* Moves [pos, pos + size) between memory and members, within the file's rows. data NULL: zeroes are written. */
int stripe_move(const StripeVolume *volume, const StripeFile *file, bool write, uint64_t pos, void *data, uint64_t size) _must_check_;
