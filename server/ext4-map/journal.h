/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal (jbd2) of a file system that was not unmounted: which blocks its finished transactions say are to be something else than they are.
 * It is read from untrusted bytes like everything else, and written only to say that it is empty.
 *
 *   journal.c        where it is, its superblock, a block of it       journal-scan.c  its transactions
 *   recovery.c       what is done with it when a file system is opened
 */

#include "ext4-map/volume.h"

typedef struct JournalBlock {
        uint64_t block;    /* of the file system, that is to be what stands... */
        uint32_t at;       /* ...here in the journal */
        uint32_t age;      /* which transaction, from the first on */
        uint32_t checksum; /* as the journal says */
        bool escaped;      /* its first four bytes are the journal's magic number, and zero in the journal */
} JournalBlock;

struct Journal {
        Volume *volume;            /* borrowed */
        Run *runs;                 /* owned: where its own blocks are, in order */
        size_t n_runs;
        Ranges own;                /* owned: the same, by place */
        uint32_t first, last;      /* the log goes round from first to the one before last */
        uint32_t start, sequence;  /* where the oldest transaction is, and its number; start 0: there is none */
        uint32_t n_transactions;   /* that are finished */
        uint32_t fast;             /* where fast commits are; 0: it has none */
        uint32_t compat, incompat; /* features */
        uint32_t seed;             /* of checksums */
        bool failed;               /* the kernel has noted an error in it */
        JournalBlock *blocks;      /* owned: sorted by block, each once */
        size_t n_blocks;
};

/* The file system is open, as far as its journal's inode goes. 0, or negative errno with volume->why. */
int journal_open(Volume *volume, Journal **ret) _must_check_;
Journal *journal_free(Journal *journal);
int journal_scan(Journal *journal) _must_check_; /* fills blocks, having compared all checksums */
/* The first of its blocks that is to replace one of [block, block + n); NULL: none. */
const JournalBlock *journal_find(const Journal *journal, uint64_t block, uint64_t n);
uint64_t journal_place(const Journal *journal, uint32_t at); /* on the device; 0: nowhere */
int journal_load(const Journal *journal, const JournalBlock *entry, void *ret) _must_check_; /* what that block is to be */
int journal_mark_empty(const Journal *journal) _must_check_;

/* ---- between journal.c and journal-scan.c ---------------------------------------------------------------------------- */

#define JOURNAL_MAGIC 0xc03b3998U

enum { /* features */
        JOURNAL_COMPAT_CHECKSUM = 1 << 0, /* one of each transaction, in its commit block */
        JOURNAL_REVOKE = 1 << 0,
        JOURNAL_64BIT = 1 << 1,
        JOURNAL_ASYNC_COMMIT = 1 << 2,
        JOURNAL_CHECKSUM_2 = 1 << 3, /* one of each block */
        JOURNAL_CHECKSUM_3 = 1 << 4, /* of 32 bits for data, too */
        JOURNAL_FAST_COMMIT = 1 << 5,
};

int journal_read(const Journal *journal, uint32_t at, void *ret) _must_check_;
static inline bool journal_has_checksums(const Journal *journal) {
        return journal->incompat & (JOURNAL_CHECKSUM_2 | JOURNAL_CHECKSUM_3);
}
