/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a journal is, its superblock, and its blocks one by one. See journal.h. */

#include "ext4-map/journal.h"

#include <endian.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS_MIN 1024U  /* kernel: JBD2_MIN_JOURNAL_BLOCKS */
#define FAST_BLOCKS 256U  /* kernel: JBD2_DEFAULT_FAST_COMMIT_BLOCKS */
#define CHECKSUM_CRC32C 4 /* kernel: JBD2_CRC32C_CHKSUM */
#define SUPER_SIZE 1024

/* The first block: big-endian, as all of the journal (kernel: struct journal_superblock_s, Documentation/filesystems/ext4/journal.rst). */
typedef struct Super {
        uint32_t magic;
        uint32_t type;         /* 3: fields up to error; 4: all */
        uint32_t unused;
        uint32_t block_size;   /* bytes */
        uint32_t n_blocks;
        uint32_t first;
        uint32_t sequence;
        uint32_t start;
        int32_t error;
        uint32_t compat, incompat, ro_compat;
        uint8_t uuid[16];
        uint32_t other[4];
        uint8_t checksum_type;
        uint8_t padding[3];
        uint32_t n_fast;
        uint32_t more[41];
        uint32_t checksum;     /* CRC-32C of all, itself as 0 */
        uint8_t users[768];
} Super;
_Static_assert(sizeof(Super) == SUPER_SIZE, "layout");

enum { SUPER_OLD = 3, SUPER_NEW = 4 };
#define INCOMPAT_KNOWN                                                                                                   \
        ((uint32_t) (JOURNAL_REVOKE | JOURNAL_64BIT | JOURNAL_ASYNC_COMMIT | JOURNAL_CHECKSUM_2 | JOURNAL_CHECKSUM_3 | JOURNAL_FAST_COMMIT))

static int damaged(const Journal *journal, const char *what) {
        (void) snprintf(journal->volume->why, sizeof journal->volume->why,
                        "%s: run e2fsck -fy, or mount it with -o ro,norecovery to read what is there", what);
        return -EUCLEAN;
}

Journal *journal_free(Journal *journal) {
        if (!journal)
                return NULL;
        ranges_done(&journal->own);
        free(journal->runs);
        free(journal->blocks);
        free(journal);
        return NULL;
}
DEFINE_CLEANUP(Journal *, journal_freep, journal_free)

/* ---- where it is ---------------------------------------------------------------------------------------------------- */

typedef struct Collector {
        Journal *journal;
        size_t n_allocated;
        int error;
} Collector;

static void collect(void *userdata, const Run *run) {
        Collector *collector = userdata;
        Journal *journal = collector->journal;

        if (!run->place || collector->error < 0)
                return;
        if (journal->n_runs == collector->n_allocated) {
                size_t n = collector->n_allocated ? 2 * collector->n_allocated : 16;
                Run *runs = reallocarray(journal->runs, n, sizeof *runs);
                if (!runs) {
                        collector->error = -ENOMEM;
                        return;
                }
                journal->runs = runs;
                collector->n_allocated = n;
        }
        journal->runs[journal->n_runs++] = *run;
        collector->error = ranges_add(&journal->own, run->place, run->place + run->n - 1);
}

static int find_runs(Journal *journal, ext2_ino_t ino, uint64_t *ret_blocks) {
        Volume *volume = journal->volume;
        Collector collector = {.journal = journal};
        uint64_t n_blocks;
        Inode inode;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        n_blocks = *ret_blocks = inode_size(&inode) / volume->block_size;
        if (!inode_is_regular(&inode) || n_blocks > volume->device_size / volume->block_size)
                return damaged(journal, "the journal is no file, or larger than the device");
        r = runs_walk(volume, ino, &inode, n_blocks, collect, &collector);
        return r < 0 ? r : collector.error;
}

uint64_t journal_place(const Journal *journal, uint32_t at) {
        size_t low = 0, high = journal->n_runs;

        while (low < high) {
                size_t middle = (low + high) / 2;
                const Run *run = &journal->runs[middle];
                if (at < run->block)
                        high = middle;
                else if (at - run->block >= run->n)
                        low = middle + 1;
                else
                        return run->place + (at - run->block);
        }
        return 0;
}

static int read_at(const Journal *journal, uint32_t at, void *ret, size_t size) {
        uint64_t place = journal_place(journal, at);
        ssize_t n;

        if (place == 0)
                return damaged(journal, "the journal has holes");
        n = RET_NERRNO(pread(journal->volume->fd, ret, size, (off_t) (place * journal->volume->block_size)));
        return n < 0 ? (int) n : n == (ssize_t) size ? 0 : -EIO;
}

int journal_read(const Journal *journal, uint32_t at, void *ret) {
        return read_at(journal, at, ret, journal->volume->block_size);
}

int journal_load(const Journal *journal, const JournalBlock *entry, void *ret) {
        const uint32_t magic = htobe32(JOURNAL_MAGIC);
        int r = journal_read(journal, entry->at, ret);

        if (r >= 0 && entry->escaped)
                memcpy(ret, &magic, sizeof magic);
        return r;
}

const JournalBlock *journal_find(const Journal *journal, uint64_t block, uint64_t n) {
        size_t low = 0, high = journal->n_blocks;

        while (low < high) {
                size_t middle = (low + high) / 2;
                if (journal->blocks[middle].block < block)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < journal->n_blocks && journal->blocks[low].block - block < n ? &journal->blocks[low] : NULL;
}

/* ---- its superblock ------------------------------------------------------------------------------------------------- */

static uint32_t super_checksum(const Super *super) {
        Super copy = *super;

        copy.checksum = 0;
        return ext2fs_crc32c_le(~0U, (const uint8_t *) &copy, sizeof copy);
}

static const char *check_features(const Journal *journal, const Super *super) {
        const uint32_t both = JOURNAL_CHECKSUM_2 | JOURNAL_CHECKSUM_3;

        if (journal->incompat & ~INCOMPAT_KNOWN || super->ro_compat)
                return "the journal has a feature that is not known";
        if ((journal->incompat & both) == both || (journal->compat & JOURNAL_COMPAT_CHECKSUM && journal_has_checksums(journal)))
                return "the journal has checksums of two kinds";
        if (journal_has_checksums(journal) && (super->checksum_type != CHECKSUM_CRC32C || be32toh(super->checksum) != super_checksum(super)))
                return "the journal's superblock is damaged";
        return NULL;
}

static const char *check_super(Journal *journal, const Super *super, uint64_t n_blocks) {
        const uint32_t type = be32toh(super->type);
        const char *why;

        if (be32toh(super->magic) != JOURNAL_MAGIC || (type != SUPER_OLD && type != SUPER_NEW))
                return "the journal has no superblock";
        if (be32toh(super->block_size) != journal->volume->block_size)
                return "the journal has blocks of another size";
        journal->first = be32toh(super->first);
        journal->last = be32toh(super->n_blocks);
        journal->start = be32toh(super->start);
        journal->sequence = be32toh(super->sequence);
        journal->failed = super->error != 0;
        if (type == SUPER_NEW) {
                journal->compat = be32toh(super->compat);
                journal->incompat = be32toh(super->incompat);
                journal->seed = ext2fs_crc32c_le(~0U, super->uuid, sizeof super->uuid);
                why = check_features(journal, super);
                if (why)
                        return why;
        }
        if (journal->last > n_blocks)
                return "the journal is cut off";
        if (journal->incompat & JOURNAL_FAST_COMMIT) { /* as the kernel lays it out: jbd2_journal_load() */
                uint32_t n_fast = super->n_fast ? be32toh(super->n_fast) : FAST_BLOCKS;
                if (journal->last >= BLOCKS_MIN && n_fast <= journal->last - BLOCKS_MIN) {
                        journal->last -= n_fast;
                        journal->fast = journal->last + 1;
                }
        }
        if (journal->first == 0 || journal->first >= journal->last ||
            (journal->start != 0 && (journal->start < journal->first || journal->start >= journal->last)))
                return "the journal begins nowhere";
        return NULL;
}

int journal_open(Volume *volume, Journal **ret) {
        _cleanup_(journal_freep) Journal *journal = calloc(1, sizeof *journal);
        const ext2_ino_t ino = volume->fs->super->s_journal_inum;
        uint64_t n_blocks;
        const char *why;
        Super super;
        int r;

        if (!journal)
                return -ENOMEM;
        journal->volume = volume;
        if (!ext2fs_has_feature_journal(volume->fs->super) || ino == 0)
                return damaged(journal, "the journal that it needs is on another device");
        r = find_runs(journal, ino, &n_blocks);
        if (r >= 0)
                r = read_at(journal, 0, &super, sizeof super);
        if (r < 0)
                return r;
        why = check_super(journal, &super, n_blocks);
        if (why)
                return damaged(journal, why);
        *ret = TAKE_PTR(journal);
        return 0;
}

/* The next transaction will have a number that none in it has. */
int journal_mark_empty(const Journal *journal) {
        Super super;
        ssize_t n;
        int r;

        r = read_at(journal, 0, &super, sizeof super);
        if (r < 0)
                return r;
        super.start = 0;
        super.sequence = htobe32(journal->sequence + journal->n_transactions + 1);
        if (journal_has_checksums(journal))
                super.checksum = htobe32(super_checksum(&super));
        n = RET_NERRNO(pwrite(journal->volume->fd, &super, sizeof super, (off_t) (journal_place(journal, 0) * journal->volume->block_size)));
        return n < 0 ? (int) n : n == sizeof super ? 0 : -EIO;
}
