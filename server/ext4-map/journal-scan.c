/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal's log, transaction by transaction: descriptor blocks, each followed by the blocks that its tags name; revoke blocks, which say that
 * what older transactions have of a block counts no more; a commit block. Where one is missing the log ends, and what came before it counts.
 *
 * A checksum that is wrong is either of something that was written half, or older than this log, and ends it; or damage, which nobody can make
 * good here. Which of them it is, is decided as the kernel does (fs/jbd2/recovery.c). Nothing is replayed of a journal that is damaged anywhere. */

#include "ext4-map/journal.h"

#include <endian.h>
#include <string.h>

/* Each block that is not data begins with this. Big-endian (kernel: struct journal_header_s). */
typedef struct Header {
        uint32_t magic, type, sequence;
} Header;

enum { DESCRIPTOR = 1, COMMIT = 2, REVOKE = 5 };

/* Descriptor: the header, then tags; without TAG_SAME_UUID 16 bytes follow a tag. Layout by feature (kernel: journal_tag_bytes()):
 *
 *   checksum_3      block 0:4, flags 4:4, block's upper half 8:4, checksum 12:4
 *   else            block 0:4, checksum 4:2, flags 6:2, with 64bit block's upper half 8:4; with checksum_2 2 bytes more, unused
 *
 * With checksums of blocks the last 4 bytes of descriptor and revoke blocks are CRC-32C of the block with them as 0, begun with the seed;
 * that of data begins with the sequence number, too. */
enum { TAG_ESCAPED = 1, TAG_SAME_UUID = 2, TAG_LAST = 8 };
#define UUID_SIZE 16U
#define TAIL_SIZE 4U

/* Revoke: the header, 4 bytes: how many are used, with these 16; then numbers of blocks, of 4 bytes or, with 64bit, 8. */
#define REVOKE_START 16U

/* Commit: the header, kind (0: none, 1: CRC-32 of the transaction) and size of the checksum 12:1, 13:1, the checksum 16:4; seconds 48:8. */
enum { COMMIT_KIND = 12, COMMIT_SIZE = 13, COMMIT_CHECKSUM = 16, COMMIT_SECONDS = 48, COMMIT_CRC32 = 1 };

/* Fast commits (little-endian; kernel: fs/ext4/fast_commit.h): the first block begins with tag 0:2, length 2:2, features 4:4, transaction 8:4. */
#define FAST_TAG_HEAD 9U

typedef struct Revoked {
        uint64_t block;
        uint32_t age;
} Revoked;

typedef struct Scan {
        Journal *journal;
        uint8_t *buffer, *data;  /* owned: a block each */
        uint32_t at;             /* what comes next */
        uint64_t n_passed;       /* blocks of the log */
        bool doubtful;           /* in this transaction a checksum was wrong */
        uint32_t crc;            /* of this transaction, where the journal has such */
        uint64_t seconds;        /* when the one before was finished */
        size_t n_blocks_allocated;
        size_t n_blocks;         /* of finished transactions */
        Revoked *revoked;        /* owned */
        size_t n_revoked_found, n_revoked_allocated, n_revoked;
} Scan;

static int damaged(const Scan *scan, const char *what) {
        Volume *volume = scan->journal->volume;

        (void) snprintf(volume->why, sizeof volume->why,
                        "the journal is damaged (%s): run e2fsck -fy, or mount it with -o ro,norecovery to read what is there", what);
        return -EUCLEAN;
}

static uint32_t get32(const uint8_t *from) {
        uint32_t value;

        memcpy(&value, from, sizeof value);
        return be32toh(value);
}

static uint64_t get64(const uint8_t *from) {
        return (uint64_t) get32(from) << 32 | get32(from + 4);
}

/* CRC-32C of a block with the checksum in it as 0. */
static uint32_t checksum(const Scan *scan, size_t where) {
        static const uint8_t zeroes[4];
        const size_t size = scan->journal->volume->block_size;
        uint32_t crc = ext2fs_crc32c_le(scan->journal->seed, scan->buffer, where);

        crc = ext2fs_crc32c_le(crc, zeroes, sizeof zeroes);
        return ext2fs_crc32c_le(crc, scan->buffer + where + 4, size - where - 4);
}

static bool tail_is_right(const Scan *scan) {
        const size_t where = scan->journal->volume->block_size - TAIL_SIZE;

        return !journal_has_checksums(scan->journal) || get32(scan->buffer + where) == checksum(scan, where);
}

static size_t usable(const Scan *scan) { /* bytes of a descriptor or revoke block */
        return scan->journal->volume->block_size - (journal_has_checksums(scan->journal) ? TAIL_SIZE : 0);
}

/* Takes the next block's number; false: the log has been gone round. */
static bool pass(Scan *scan, uint32_t *ret) {
        const Journal *journal = scan->journal;

        *ret = scan->at;
        if (scan->n_passed++ >= journal->last - journal->first)
                return false;
        scan->at = scan->at + 1 == journal->last ? journal->first : scan->at + 1;
        return true;
}

static void *make_room(void *items, size_t n, size_t *n_allocated, size_t size) { /* for one more; NULL: there is none, and items stay */
        if (n < *n_allocated)
                return items;
        void *larger = reallocarray(items, *n_allocated ? 2 * *n_allocated : 256, size);
        if (larger)
                *n_allocated = *n_allocated ? 2 * *n_allocated : 256;
        return larger;
}

/* ---- what blocks say; 1: go on, 0: the log ends here, or negative errno --------------------------------------------------- */

static size_t tag_size(const Journal *journal) {
        if (journal->incompat & JOURNAL_CHECKSUM_3)
                return 16;
        return 8 + (journal->incompat & JOURNAL_64BIT ? 4 : 0) + (journal->incompat & JOURNAL_CHECKSUM_2 ? 2 : 0);
}

static JournalBlock read_tag(const Journal *journal, const uint8_t *tag, unsigned *ret_flags) {
        const bool wide = journal->incompat & JOURNAL_CHECKSUM_3;
        const uint32_t second = get32(tag + 4);
        JournalBlock entry = {.block = get32(tag), .age = journal->n_transactions};

        *ret_flags = wide ? second : second & 0xffff;
        entry.checksum = wide ? get32(tag + 12) : second >> 16;
        entry.escaped = *ret_flags & TAG_ESCAPED;
        if (journal->incompat & JOURNAL_64BIT)
                entry.block |= (uint64_t) get32(tag + 8) << 32;
        return entry;
}

static int on_descriptor(Scan *scan) {
        Journal *journal = scan->journal;
        const size_t size = tag_size(journal), end = usable(scan);
        unsigned flags = 0;
        int r;

        if (!tail_is_right(scan))
                scan->doubtful = true;
        if (journal->compat & JOURNAL_COMPAT_CHECKSUM)
                scan->crc = ext2fs_crc32_be(scan->crc, scan->buffer, journal->volume->block_size);
        for (size_t i = sizeof(Header); i + size <= end && !(flags & TAG_LAST); i += size + (flags & TAG_SAME_UUID ? 0 : UUID_SIZE)) {
                JournalBlock entry = read_tag(journal, scan->buffer + i, &flags);
                if (!pass(scan, &entry.at))
                        return 0;
                void *blocks = make_room(journal->blocks, journal->n_blocks, &scan->n_blocks_allocated, sizeof *journal->blocks);
                if (!blocks)
                        return -ENOMEM;
                journal->blocks = blocks;
                journal->blocks[journal->n_blocks++] = entry;
                if (!(journal->compat & JOURNAL_COMPAT_CHECKSUM))
                        continue;
                r = journal_read(journal, entry.at, scan->data);
                if (r < 0)
                        return r;
                scan->crc = ext2fs_crc32_be(scan->crc, scan->data, journal->volume->block_size);
        }
        return 1;
}

static int on_revoke(Scan *scan) {
        const size_t size = scan->journal->incompat & JOURNAL_64BIT ? 8 : 4;
        size_t end = get32(scan->buffer + sizeof(Header));

        if (!tail_is_right(scan))
                scan->doubtful = true;
        if (end > usable(scan)) {
                scan->doubtful = true;
                return 1;
        }
        for (size_t i = REVOKE_START; i + size <= end; i += size) {
                Revoked *revoked = make_room(scan->revoked, scan->n_revoked_found, &scan->n_revoked_allocated, sizeof *revoked);
                if (!revoked)
                        return -ENOMEM;
                scan->revoked = revoked;
                revoked[scan->n_revoked_found++] = (Revoked){
                        .block = size == 8 ? get64(scan->buffer + i) : get32(scan->buffer + i), .age = scan->journal->n_transactions};
        }
        return 1;
}

static bool commit_is_right(const Scan *scan) {
        const uint32_t found = get32(scan->buffer + COMMIT_CHECKSUM);
        const unsigned kind = scan->buffer[COMMIT_KIND], size = scan->buffer[COMMIT_SIZE];

        if (journal_has_checksums(scan->journal))
                return found == checksum(scan, COMMIT_CHECKSUM);
        if (!(scan->journal->compat & JOURNAL_COMPAT_CHECKSUM) || (kind == 0 && size == 0 && found == 0))
                return true;
        return kind == COMMIT_CRC32 && size == sizeof found && found == scan->crc;
}

static int on_commit(Scan *scan) {
        Journal *journal = scan->journal;
        const uint64_t seconds = get64(scan->buffer + COMMIT_SECONDS);
        const bool right = commit_is_right(scan);

        if ((scan->doubtful || !right) && seconds < scan->seconds) /* left from long ago */
                return 0;
        if (scan->doubtful)
                return damaged(scan, "a finished transaction");
        if (!right) /* the commit block may have been written before what it is of only if the journal says that it can */
                return journal->incompat & JOURNAL_ASYNC_COMMIT ? 0 : damaged(scan, "the end of a transaction");
        scan->seconds = seconds;
        scan->crc = ~0U;
        scan->n_blocks = journal->n_blocks;
        scan->n_revoked = scan->n_revoked_found;
        journal->n_transactions++;
        return 1;
}

static int (*const handlers[])(Scan *scan) = {[DESCRIPTOR] = on_descriptor, [COMMIT] = on_commit, [REVOKE] = on_revoke};

static int walk(Scan *scan) {
        Journal *journal = scan->journal;
        uint32_t at, type;
        int r = 1;

        while (r > 0 && pass(scan, &at)) {
                r = journal_read(journal, at, scan->buffer);
                if (r < 0)
                        return r;
                type = get32(scan->buffer + offsetof(Header, type));
                if (get32(scan->buffer + offsetof(Header, magic)) != JOURNAL_MAGIC || type >= ELEMENTSOF(handlers) || !handlers[type] ||
                    get32(scan->buffer + offsetof(Header, sequence)) != journal->sequence + journal->n_transactions)
                        break;
                r = handlers[type](scan);
        }
        return MIN_OF(r, 0);
}

/* ---- what remains --------------------------------------------------------------------------------------------------- */

static int compare_blocks(const void *a, const void *b) { /* the newest of a block first */
        const JournalBlock *x = a, *y = b;

        return x->block != y->block ? (x->block > y->block) - (x->block < y->block)
               : x->age != y->age   ? (x->age < y->age) - (x->age > y->age)
                                    : (x->at < y->at) - (x->at > y->at);
}

static int compare_revoked(const void *a, const void *b) {
        const Revoked *x = a, *y = b;

        return x->block != y->block ? (x->block > y->block) - (x->block < y->block) : (x->age < y->age) - (x->age > y->age);
}

static void sort_out(Scan *scan) {
        Journal *journal = scan->journal;
        uint64_t before = 0;
        size_t n = 0, k = 0;

        if (scan->n_blocks > 0)
                qsort(journal->blocks, scan->n_blocks, sizeof *journal->blocks, compare_blocks);
        if (scan->n_revoked > 0)
                qsort(scan->revoked, scan->n_revoked, sizeof *scan->revoked, compare_revoked);
        for (size_t i = 0; i < scan->n_blocks; i++) {
                const JournalBlock entry = journal->blocks[i];
                if (i > 0 && entry.block == before) /* older */
                        continue;
                before = entry.block;
                while (k < scan->n_revoked && scan->revoked[k].block < entry.block)
                        k++;
                if (k == scan->n_revoked || scan->revoked[k].block != entry.block || entry.age > scan->revoked[k].age)
                        journal->blocks[n++] = entry;
        }
        journal->n_blocks = n;
}

static int check_block(const Scan *scan, const JournalBlock *entry) {
        const Journal *journal = scan->journal;
        const uint32_t block_size = journal->volume->block_size, sequence = htobe32(journal->sequence + entry->age);
        uint32_t crc;
        int r;

        if (entry->block >= journal->volume->device_size / block_size || ranges_overlap(&journal->own, entry->block, entry->block, NULL))
                return damaged(scan, "a block that it cannot mean");
        if (!journal_has_checksums(journal))
                return 0;
        r = journal_read(journal, entry->at, scan->data);
        if (r < 0)
                return r;
        crc = ext2fs_crc32c_le(journal->seed, (const uint8_t *) &sequence, sizeof sequence);
        crc = ext2fs_crc32c_le(crc, scan->data, block_size);
        return entry->checksum == (journal->incompat & JOURNAL_CHECKSUM_3 ? crc : crc & 0xffff) ? 0 : damaged(scan, "a block of it");
}

/* What they say is no copy of blocks, but has to be done by who knows all of ext4. */
static int check_fast(const Scan *scan) {
        const Journal *journal = scan->journal;
        uint16_t tag;
        uint32_t transaction;
        int r;

        if (journal->fast == 0)
                return 0;
        r = journal_read(journal, journal->fast, scan->buffer);
        if (r < 0)
                return r;
        memcpy(&tag, scan->buffer, sizeof tag);
        memcpy(&transaction, scan->buffer + 8, sizeof transaction);
        if (le16toh(tag) != FAST_TAG_HEAD || le32toh(transaction) != journal->sequence + journal->n_transactions)
                return 0;
        (void) snprintf(journal->volume->why, sizeof journal->volume->why,
                        "the journal has fast commits, which are e2fsck's to replay: run e2fsck -p, or mount it with -o ro,norecovery");
        return -EOPNOTSUPP;
}

int journal_scan(Journal *journal) {
        _cleanup_free_ uint8_t *buffer = malloc(journal->volume->block_size), *data = malloc(journal->volume->block_size);
        Scan scan = {.journal = journal, .buffer = buffer, .data = data, .at = journal->start, .crc = ~0U};
        int r = buffer && data ? 0 : -ENOMEM;

        if (journal->start == 0)
                return 0;
        if (r >= 0)
                r = walk(&scan);
        if (r >= 0) {
                sort_out(&scan);
                r = check_fast(&scan);
        }
        for (size_t i = 0; r >= 0 && i < journal->n_blocks; i++)
                r = check_block(&scan, &journal->blocks[i]);
        free(scan.revoked);
        return r;
}
