/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done with a journal when a file system that was not unmounted is opened. For writing, it is replayed: its blocks go where they belong,
 * and it is marked empty. Read-only, nothing is written: a block that the journal has another content for is read there, by libext2fs (io.c) and by
 * whoever reads a file's data (data.c) alike. */

#include "ext4-map/journal.h"

#include <string.h>
#include <unistd.h>

static int copy_blocks(const Journal *journal) {
        const Volume *volume = journal->volume;
        _cleanup_free_ void *buffer = malloc(volume->block_size);
        int r = buffer ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < journal->n_blocks; i++) {
                const JournalBlock *entry = &journal->blocks[i];
                r = journal_load(journal, entry, buffer);
                if (r < 0)
                        return r;
                ssize_t n = RET_NERRNO(pwrite(volume->fd, buffer, volume->block_size, (off_t) (entry->block * volume->block_size)));
                r = n < 0 ? (int) n : n == (ssize_t) volume->block_size ? 0 : -EIO;
        }
        return r;
}

/* In this order a crash at any point leaves a journal that can be replayed, or one that need not be. */
static int replay(Volume *volume, const Journal *journal) {
        int r = copy_blocks(journal);

        if (r >= 0)
                r = RET_NERRNO(fdatasync(volume->fd));
        if (r >= 0)
                r = journal_mark_empty(journal);
        if (r >= 0)
                r = RET_NERRNO(fdatasync(volume->fd));
        return r;
}

int recovery_run(Volume *volume) {
        Journal *journal;
        int r;

        r = journal_open(volume, &journal);
        if (r < 0)
                return r;
        r = journal_scan(journal);
        if (r >= 0 && !volume->read_only) {
                r = replay(volume, journal);
                if (r >= 0)
                        volume_log(volume, "the journal is replayed: %zu blocks of %u transactions", journal->n_blocks,
                                   (unsigned) journal->n_transactions);
                volume->journal_failed = journal->failed;
        }
        if (r >= 0 && volume->read_only && journal->n_blocks > 0)
                volume->journal = journal;
        else
                journal_free(journal);
        return r;
}

void recovery_done(Volume *volume) {
        volume->journal = journal_free(volume->journal);
}

int recovery_read(const Volume *volume, uint64_t offset, size_t size, uint8_t *data) {
        const uint32_t block_size = volume->block_size;
        _cleanup_free_ uint8_t *buffer = NULL;
        const JournalBlock *entry;
        int r;

        if (!volume->journal)
                return 0;
        for (uint64_t at = offset; at < offset + size; at = (entry->block + 1) * block_size) {
                entry = journal_find(volume->journal, at / block_size, (offset + size - 1) / block_size - at / block_size + 1);
                if (!entry)
                        return 0;
                if (!buffer)
                        buffer = malloc(block_size);
                r = buffer ? journal_load(volume->journal, entry, buffer) : -ENOMEM;
                if (r < 0)
                        return r;
                const uint64_t start = entry->block * block_size, from = MAX_OF(start, offset), to = MIN_OF(start + block_size, offset + size);
                memcpy(data + (from - offset), buffer + (from - start), to - from);
        }
        return 0;
}

int recovery_map(Volume *volume, ext2_ino_t ino, uint64_t block, Run *run) {
        const uint64_t skip = block - run->block;
        const JournalBlock *entry;

        if (!volume->journal || !run->place || run->unwritten)
                return 0;
        *run = (Run){.block = block, .n = run->n - skip, .place = run->place + skip};
        entry = journal_find(volume->journal, run->place, run->n);
        if (!entry)
                return 0;
        if (entry->block > run->place) {
                run->n = entry->block - run->place;
                return 0;
        }
        if (entry->escaped) { /* nowhere on the device as it is to be: data, journaled, that begins like a block of the journal */
                if (!volume->has_unreadable)
                        volume_log(volume, "inode %u has data that is there only once the journal is replayed: mount it for writing",
                                   (unsigned) ino);
                volume->has_unreadable = true;
                return -EIO;
        }
        run->n = 1;
        run->place = journal_place(volume->journal, entry->at);
        return 0;
}
